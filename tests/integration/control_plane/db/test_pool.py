"""The pool: deadlines that hold when the server does not; refusals of triggers by their code."""

from __future__ import annotations

import asyncio

import pytest

from compiler.errors import AppError
from control_plane.db.pool import DatabaseUnavailableError, Pool
from control_plane.errors import ConflictError, InvalidError, SetupError
from control_plane.settings import PoolSettings


@pytest.fixture
async def pool(database_url):
    async with Pool(PoolSettings(database_url, max_size=2, acquire_s=0.2)) as opened:
        yield opened


async def test_a_statement_past_the_deadline_is_cut_and_the_pool_lives_on(pool):
    with pytest.raises(DatabaseUnavailableError, match="in time"):
        async with pool.transaction(deadline_s=0.1) as connection:
            await connection.execute("SELECT pg_sleep(600)")
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_caller_that_finds_no_free_connection_is_told_in_time(pool):
    async with pool.connection(), pool.connection():
        with pytest.raises(DatabaseUnavailableError, match="busy"):
            async with pool.connection():
                pass


async def test_a_cancelled_unit_of_work_gives_its_connection_back(pool):
    async def work():
        async with pool.transaction() as connection:
            await connection.execute("SELECT pg_sleep(600)")

    for _ in range(5):
        task = asyncio.create_task(work())
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await pool.ready()


async def test_an_error_inside_undoes_the_transaction(pool):
    async def work():
        async with pool.transaction() as connection:
            await connection.execute("CREATE TABLE gone (a int)")
            raise ConflictError("stop")

    with pytest.raises(ConflictError):
        await work()
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('gone')") is None


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT refuse('IL409', 'a.b', 'no')", ConflictError, "a.b"),
        ("SELECT 1 / 0", InvalidError, "value.range"),
        ("SELECT * FROM nowhere", AppError, "database.failure"),
    ],
)
async def test_what_the_database_refuses_has_a_code(pool, statement, kind, code):
    with pytest.raises(kind) as caught:
        async with pool.connection() as connection:
            await connection.execute(statement)
    assert caught.value.code == code
    assert "nowhere" not in caught.value.message


async def test_nobody_there_stops_the_start():
    with pytest.raises(SetupError):
        async with Pool(PoolSettings("postgresql://nobody@127.0.0.1:1/none", connect_s=1)):
            pass
