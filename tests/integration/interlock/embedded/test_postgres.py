"""The embedded PostgreSQL: real binaries, real folders."""

import asyncpg
import pytest

from interlock.child.identity import Identity, closed_ancestor
from interlock.embedded.errors import ForeignVersionError, HomeError
from interlock.embedded.folders import prepare_home, socket_folder
from interlock.embedded.postgres import EmbeddedPostgres


async def test_server_speaks_version_18_with_utf8_and_scram(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert (await connection.fetchval("SHOW server_version")).startswith("18")
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        locale = "SELECT datlocale FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(locale) == "C.UTF-8"
        assert await connection.fetchval("SELECT uuidv7() < uuidv7()")
        stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
        assert (await connection.fetchval(stored)).startswith("SCRAM-SHA-256$")
    finally:
        await connection.close()


async def test_wrong_password_is_refused(postgres_server):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.url(password="wrong"))


async def test_each_test_gets_a_database_without_the_traces_of_others(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("CREATE TABLE trace (x int)")
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_user_tables") == 1
    finally:
        await connection.close()


def test_data_of_another_version_is_refused_with_the_remedy(open_folder):
    (open_folder / "postgres").mkdir()
    (open_folder / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(ForeignVersionError, match=r"PostgreSQL 15, this one is 18") as error:
        EmbeddedPostgres(open_folder, password="x").prepare()
    assert "move" in error.value.hint


def test_half_made_data_folder_is_thrown_away_by_the_next_start(open_folder):
    half = open_folder / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(open_folder, password="x", settings={"fsync": "off"})
    assert server.prepare() is True
    assert server.prepare() is False
    assert not half.exists()
    assert (open_folder / "postgres" / "global").is_dir()


def test_status_file_of_a_killed_server_is_not_believed(open_folder):
    (open_folder / "postgres").mkdir()
    lines = ["4194303", str(open_folder / "postgres"), "1", "5432", "", "", "", "ready   "]
    (open_folder / "postgres" / "postmaster.pid").write_text("\n".join(lines))
    server = EmbeddedPostgres(open_folder, password="x")
    assert server.ready(pid=4194303) is True
    assert server.ready(pid=1) is False
    server.wait_for_previous(timeout_s=0)


def test_home_below_a_closed_folder_is_an_error_that_names_the_folder(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    stranger = Identity(uid=54321, gid=54321)
    assert closed_ancestor(closed / "home", stranger) == closed
    assert closed_ancestor(open_folder / "other" / "home", stranger) is None
    with pytest.raises(HomeError, match=str(closed)) as error:
        prepare_home(closed / "home", stranger)
    assert "/var/lib/interlock" in error.value.hint
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


def test_home_that_cannot_be_written_is_named(open_folder):
    (open_folder / "file").write_text("")
    with pytest.raises(HomeError, match="cannot write to the home") as error:
        prepare_home(open_folder / "file" / "home", None)
    assert "--home" in error.value.hint


def test_socket_of_a_deep_home_moves_to_a_short_folder(open_folder):
    deep = open_folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    short = socket_folder(deep, None)
    try:
        assert len(str(short)) < 60
        assert socket_folder(deep, None) == short
        assert socket_folder(open_folder, None) == open_folder / "run"
    finally:
        short.rmdir()
