"""Real servers for every test that needs one: started once, a fresh database per test.

- ``postgres_server``: the embedded PostgreSQL, one for the session.
- ``empty_database_url``: a new database without any table.
- ``database_url``: a fresh copy of the migrated template database.
- ``role_url``: the same database as a login of one group role (``role_url("interlock_router")``).
- ``redis_url``: the embedded Redis, emptied for each test.
- ``open_folder``: a short folder that the servers' user can reach even when the tests run as root.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

TEMPLATE = "interlock_template"
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the programs under test hear it.

    A shell starts background work with SIGINT ignored, and whatever that starts inherits it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def in_thread(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine on an event loop of its own, whatever loop the test has."""
    result: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        async def whole() -> Any:
            return await work()

        try:
            result.append(asyncio.run(whole()))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def execute(url: str, *statements: str) -> None:
    """Run statements one by one outside a transaction."""

    async def work() -> None:
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    in_thread(work)


def wait_until(ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a server to become ready.

    Raises:
        RuntimeError: it ended instead; with the end of its log.
    """
    deadline = time.monotonic() + 30
    while not ready():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{child.args} is not ready:\n{log.read_text()[-2000:]}")
        time.sleep(0.01)


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """A short folder for the servers of this session."""
    home = Path(tempfile.mkdtemp(prefix="il-test-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A short empty folder that every user can enter; pytest's own are closed when run as root."""
    folder = Path(tempfile.mkdtemp(prefix="il-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_home: Path) -> Iterator[Any]:
    """The embedded PostgreSQL of this session, as an ``EmbeddedPostgres``."""
    from interlock.child import process
    from interlock.embedded.postgres import FAST_AND_LOSSY, EmbeddedPostgres, new_password

    server = EmbeddedPostgres(server_home, password=new_password(), settings=FAST_AND_LOSSY)
    server.prepare()
    log = server_home / "postgres.log"
    with log.open("wb") as output:
        child = process.start(
            server.command(),
            identity=server.identity,
            env=server.environment(),
            death_signal=signal.SIGQUIT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: server.ready(child.pid), child, log)
        yield server
        process.stop(child, with_signal=signal.SIGQUIT)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Any) -> str:
    """Name of the template database, migrated once."""
    from control_plane.db.migrate import migrate

    execute(postgres_server.url(), f"CREATE DATABASE {TEMPLATE}")
    url = postgres_server.url(database=TEMPLATE)

    async def work() -> None:
        answer: Any = migrate(url)
        if inspect.isawaitable(answer):
            await answer

    in_thread(work)
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres_server: Any) -> Iterator[str]:
    """URL of a new, empty database."""
    yield from _database(postgres_server, "template1")


@pytest.fixture
def database_url(postgres_server: Any, migrated_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database, as its superuser."""
    yield from _database(postgres_server, migrated_template)


def _database(server: Any, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(database=name)
    execute(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def role_url(database_url: str) -> Callable[[str], str]:
    """Makes a URL of the test's database for a login that is a member of one group role."""

    def make(group: str) -> str:
        login = f"test_{group}"
        execute(
            database_url,
            f"DO $$ BEGIN CREATE ROLE {login} LOGIN PASSWORD '{login}' IN ROLE {group};"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
        parts = urlsplit(database_url)
        return urlunsplit(parts._replace(netloc=f"{login}:{login}@"))

    return make


@pytest.fixture(scope="session")
def redis_server(server_home: Path) -> Iterator[Any]:
    """The embedded Redis of this session, as an ``EmbeddedRedis``."""
    from interlock.child import process
    from interlock.embedded.redis import EmbeddedRedis

    server = EmbeddedRedis(server_home, password="test")
    server.prepare()
    log = server_home / "redis.log"
    with log.open("wb") as output:
        child = process.start(
            server.command(),
            identity=server.identity,
            death_signal=signal.SIGKILL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        wait_until(server.ready, child, log)
        yield server
        process.stop(child, with_signal=signal.SIGKILL)


@pytest.fixture
def redis_url(redis_server: Any) -> str:
    """URL of the session's Redis, emptied."""
    import redis

    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server.url()
