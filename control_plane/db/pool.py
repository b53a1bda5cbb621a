"""Connections to PostgreSQL with deadlines that do not depend on the driver.

A server that stops answering (a stopped process, a cut network) leaves a driver waiting in places
its own timeouts do not cover. Here every unit of work has one deadline around it; when it passes,
the connection is cut and the caller gets an error at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import asyncpg
import msgspec

from compiler.errors import AppError
from control_plane.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    SetupError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from control_plane.settings import PoolSettings

Connection = Any
"""An asyncpg connection; the driver ships no types."""

RAISED = {
    "IL403": ForbiddenError,
    "IL404": NotFoundError,
    "IL409": ConflictError,
    "IL422": InvalidError,
}
"""SQLSTATE that our triggers raise -> error; the DETAIL of the exception is the code."""

STATEMENTS = 500
"""Statements that a connection keeps prepared: more than the code has."""
_RETRY = "try again; if it stays, look at the database server"


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL did not answer in time."""

    code = "database.unavailable"


class Pool:
    """A bounded set of connections; use ``async with`` to open and close it."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        """Open the first connection.

        Raises:
            SetupError: the database cannot be reached or refuses the credentials.
        """
        settings = self.settings
        try:
            async with asyncio.timeout(settings.connect_s * 2):
                self._pool = await asyncpg.create_pool(
                    settings.database_url,
                    min_size=settings.min_size,
                    max_size=settings.max_size,
                    timeout=settings.connect_s,
                    init=_prepare,
                    statement_cache_size=STATEMENTS,
                    max_cached_statement_lifetime=0,
                    server_settings={
                        "application_name": "interlock-control",
                        "statement_timeout": str(int(settings.deadline_s * 1000)),
                        "idle_in_transaction_session_timeout": str(int(settings.deadline_s * 1000)),
                    },
                )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SetupError(
                f"could not open the database: {str(error) or type(error).__name__}",
                code="database.unreachable",
                hint="check DATABASE_URL and that PostgreSQL is running",
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection, politely for a short time."""
        try:
            async with asyncio.timeout(2):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self, *, deadline_s: float | None = None) -> AsyncIterator[Connection]:
        """One connection for one unit of work.

        Args:
            deadline_s: longest time to hold it; default from the settings.

        Raises:
            DatabaseUnavailableError: no free connection, no answer, or a lost one.
            AppError: a trigger refused the write; class and code say which.
        """
        settings = self.settings
        try:
            async with asyncio.timeout(settings.acquire_s):
                connection = await self._pool.acquire()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailableError(
                f"no connection to the database: {str(error) or 'all are busy'}", hint=_RETRY
            ) from error
        watchdog = Watchdog(connection, deadline_s or settings.deadline_s)
        finished = False
        try:
            yield connection
            finished = True
        except AppError:
            finished = True
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if watchdog.barked:
                raise DatabaseUnavailableError(
                    "the database did not answer in time", hint=_RETRY
                ) from error
            finished = isinstance(error, asyncpg.PostgresError)
            raise translate(error) from error
        finally:
            watchdog.stop()
            if not finished:
                cut(connection)
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self, *, deadline_s: float | None = None) -> AsyncIterator[Connection]:
        """One connection inside one transaction; leaving with an error undoes everything."""
        async with (
            self.connection(deadline_s=deadline_s) as connection,
            connection.transaction(),
        ):
            yield connection

    async def ready(self) -> bool:
        """Whether the database answers within a second."""
        try:
            async with self.connection(deadline_s=1.0) as connection:
                await connection.fetchval("SELECT 1")
        except DatabaseUnavailableError:
            return False
        return True


def cut(connection: Connection) -> None:
    """Close a connection without asking the server; one that is closed already is left alone."""
    with contextlib.suppress(asyncpg.InterfaceError):  # the pool took it back when it broke
        connection.terminate()


class Watchdog:
    """Cuts a connection at its deadline, so that whoever waits on it stops waiting.

    Cancelling the waiting task is not enough: the driver would then wait for the server to agree
    to a cancellation and to a ROLLBACK, which a stopped server never does.
    """

    def __init__(self, connection: Connection, deadline_s: float) -> None:
        self.barked = False
        self._connection = connection
        self._handle = asyncio.get_running_loop().call_later(deadline_s, self._bark)

    def _bark(self) -> None:
        self.barked = True
        cut(self._connection)

    def stop(self) -> None:
        """The work is done."""
        self._handle.cancel()


def translate(error: BaseException) -> AppError:
    """The product's error for one of the driver's.

    A refusal raised by one of our triggers keeps its code; anything else that the caller could
    not know is a database failure and is reported without SQL or values.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return DatabaseUnavailableError("the connection to the database was lost", hint=_RETRY)
    state = error.sqlstate or ""
    raised = RAISED.get(state)
    if raised is not None:
        return raised(error.message, code=error.detail or "", hint=error.hint or "")
    if state.startswith(("08", "53", "57")):
        return DatabaseUnavailableError("the database is not available now", hint=_RETRY)
    if state in {"40001", "40P01", "55P03"}:
        return ConflictError("somebody else was faster", code="conflict.concurrent", hint=_RETRY)
    if state == "23505":
        return ConflictError("it exists already", code="conflict.exists")
    if state == "22021":
        return InvalidError(
            "expected text that PostgreSQL can store, got a NUL character", code="text.invalid"
        )
    if state.startswith("22"):
        return InvalidError("a value does not fit its column", code="value.range")
    return DatabaseFailureError(f"the database refused a statement ({state})")


class DatabaseFailureError(AppError):
    """The database refused a statement that this version believes in."""

    code = "database.failure"


async def _prepare(connection: Connection) -> None:
    """Let ``json`` and ``jsonb`` columns be Python values."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=_encode,
            decoder=msgspec.json.decode,
        )


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
