"""Migrations: once each, all or nothing, never edited, one migrator at a time."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from control_plane.db.migrate import Migration, MigrationError, bundled, migrate

ONE = Migration(1, "one", "CREATE TABLE one (a int);")
TWO = Migration(2, "two", "CREATE TABLE two (a int);")


async def test_each_is_applied_once_even_by_many_at_a_time(empty_database_url):
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))
    everything = [migration.number for migration in bundled()]
    assert sorted(applied) == [[], [], everything]


async def test_a_failing_one_leaves_nothing_and_names_its_line(empty_database_url):
    broken = Migration(2, "two", "CREATE TABLE two (a int);\nSELECT nonsense;")
    with pytest.raises(MigrationError, match="0002") as caught:
        await migrate(empty_database_url, migrations=[ONE, broken])
    assert caught.value.at == "0002_two.sql:2"
    assert await migrate(empty_database_url, migrations=[ONE, TWO]) == [2]


async def test_an_edited_one_is_refused(empty_database_url):
    await migrate(empty_database_url, migrations=[ONE])
    with pytest.raises(MigrationError) as caught:
        await migrate(empty_database_url, migrations=[Migration(1, "one", "SELECT 1;")])
    assert caught.value.code == "migration.edited"


async def test_a_database_from_the_future_is_refused(empty_database_url):
    await migrate(empty_database_url, migrations=[ONE, TWO])
    with pytest.raises(MigrationError) as caught:
        await migrate(empty_database_url, migrations=[ONE])
    assert caught.value.code == "migration.newer"


async def test_nobody_there_is_said_in_one_line():
    with pytest.raises(MigrationError) as caught:
        await migrate("postgresql://nobody@127.0.0.1:1/none")
    assert caught.value.code == "database.unreachable"


async def test_the_routers_login_sees_the_feed_and_nothing_else(database_url, role_url):
    connection = await asyncpg.connect(role_url("interlock_router"))
    for view in ("feed_releases", "feed_keys", "feed_roster"):
        await connection.fetch(f"SELECT * FROM {view}")
    await connection.execute(
        "SELECT node_heartbeat('n', 0, 1, 8080, '{\"credit\": 1}'::jsonb, '{}'::jsonb)"
    )
    for statement in (
        "SELECT * FROM users",
        "SELECT * FROM routing_keys",
        "SELECT * FROM node_workers",
        "INSERT INTO activations (endpoint, kind, actor) VALUES ('e', 'resume', 'x')",
        "CREATE TABLE mine (a int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()
