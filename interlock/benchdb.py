"""A migrated PostgreSQL of its own for a benchmark: default settings, gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from compiler.errors import AppError
from control_plane.db.migrate import migrate
from interlock.child import process
from interlock.embedded.postgres import EmbeddedPostgres, new_password

START_S = 30.0
DATABASE = "interlock_bench"


class BenchDatabaseError(AppError):
    """The database of a benchmark did not start."""

    code = "bench.database"


@contextmanager
def scratch_database() -> Iterator[str]:
    """URL of a fresh, migrated database in a temporary folder.

    Raises:
        BenchDatabaseError: the server ended while it started.
    """
    home = Path(tempfile.mkdtemp(prefix="il-bench-"))
    home.chmod(0o755)
    try:
        server = EmbeddedPostgres(home, password=new_password())
        server.prepare()
        log = home / "postgres.log"
        with log.open("wb") as output:
            child = process.start(
                server.command(),
                identity=server.identity,
                env=server.environment(),
                death_signal=signal.SIGQUIT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_S
            while not server.ready(child.pid):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise BenchDatabaseError(log.read_text()[-500:], at=str(log))
                time.sleep(0.01)
            asyncio.run(_create(server.url()))
            url = server.url(database=DATABASE)
            asyncio.run(migrate(url))
            yield url
        finally:
            process.stop(child, with_signal=signal.SIGINT)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _create(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
