"""A Postgres connection whose every use ends by a deadline that the driver cannot stretch.

A silent peer (a black hole, a stopped server) leaves a driver waiting for ever, and cancelling the
wait asks the same peer. So the work runs in a task, the deadline is ours, and when it passes the
socket is aborted and the connection thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import date, timedelta
from typing import Any, TypeVar

import asyncpg

from compiler.errors import AppError

T = TypeVar("T")

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: what the wire format of timestamptz counts from."""
ABANDON_S = 2.0
"""How long an aborted task may take to notice."""
_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400_000_000

TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a database that is away or restarting looks like; tried again without limit."""


class DeadlineExceeded(AppError):  # noqa: N818 - names what happened
    """The database did not answer in time; the connection was aborted."""

    code = "database.deadline"


class DatabaseAway(AppError):  # noqa: N818 - names what happened
    """The database cannot be used."""

    code = "database.unreachable"


async def within(seconds: float, work: Coroutine[Any, Any, T], abort: Callable[[], None]) -> T:
    """Result of ``work``, or an abort after ``seconds``.

    Raises:
        DeadlineExceeded: the time was up. ``work`` is no longer of consequence: its connection is
            gone, and a task that does not even notice that is left behind, cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        abort()
        await _abandon(task)
        raise
    if task.done():
        return task.result()
    abort()
    await _abandon(task)
    raise DeadlineExceeded(f"no answer from the database within {seconds:g} s")


async def _abandon(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=ABANDON_S)
    if task.done() and not task.cancelled():
        task.exception()  # mark it as seen: the deadline is the error that counts


def to_wire_us(microseconds: int) -> tuple[int]:
    """Microseconds since 1970 as the wire has them."""
    return (microseconds - POSTGRES_EPOCH_US,)


def from_wire_us(wire: tuple[int]) -> int:
    """Microseconds since 1970."""
    return wire[0] + POSTGRES_EPOCH_US


async def prepare(connection: asyncpg.Connection) -> None:
    """Let timestamptz travel as integer microseconds: exact, and no datetime per value."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=to_wire_us,
        decoder=from_wire_us,
    )


def day_of(microseconds: int) -> date:
    """UTC day of a time; times beyond the calendar count as its first or last day."""
    try:
        return _EPOCH + timedelta(days=microseconds // _DAY_US)
    except OverflowError:
        return date.max if microseconds > 0 else date.min


class Link:
    """One connection, made when needed and thrown away after any trouble.

    Args:
        url: database.
        name: ``application_name``, tells operators whose session it is.
        deadline_s: limit for one use.
        connect_s: limit for connecting.
    """

    def __init__(
        self, url: str, name: str, *, deadline_s: float = 30.0, connect_s: float = 10.0
    ) -> None:
        self._url = url
        self._name = name
        self._deadline_s = deadline_s
        self._connect_s = min(connect_s, deadline_s)
        self._connection: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()

    async def use(
        self,
        work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]],
        deadline_s: float | None = None,
    ) -> T:
        """Result of ``work(connection)`` within the deadline.

        Raises:
            DeadlineExceeded: no answer in time; whether a commit happened is not known.
            asyncpg.PostgresError: as the server said. The connection is closed in each case.
        """
        async with self._one_at_a_time:
            connection = await self._connected()
            try:
                return await within(
                    deadline_s or self._deadline_s, work(connection), connection.terminate
                )
            except BaseException:
                self.discard()
                raise

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        made: list[asyncpg.Connection] = []

        async def connect() -> asyncpg.Connection:
            connection = await asyncpg.connect(
                self._url,
                timeout=self._connect_s,
                statement_cache_size=64,
                server_settings={
                    "application_name": self._name,
                    # An orphaned transaction must not hold the ledger's key for ever.
                    "idle_in_transaction_session_timeout": str(int(self._deadline_s * 1000)),
                    "statement_timeout": str(int(self._deadline_s * 1000)),
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                },
            )
            made.append(connection)
            await prepare(connection)
            return connection

        def abort() -> None:
            for each in made:
                each.terminate()

        self._connection = await within(self._connect_s, connect(), abort)
        return self._connection

    def discard(self) -> None:
        """Drop the connection without asking anybody."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Say goodbye, for at most a second."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await within(1.0, _close(connection), connection.terminate)
            except (*TRANSIENT, DeadlineExceeded):
                connection.terminate()
        await asyncio.sleep(0)  # aborted sockets are closed in the next turn of the loop


async def _close(connection: asyncpg.Connection) -> None:
    await connection.close()


Sleep = Callable[[float], Awaitable[Any]]


async def connect_once(
    url: str, name: str, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]
) -> T:
    """Result of ``work`` on a connection of its own, without a limit on its length.

    Raises:
        DatabaseAway: nobody answers, the connection was lost, or the role may not do this.
    """
    link = Link(url, name, deadline_s=7 * 86_400.0)
    try:
        return await link.use(work)
    except (*TRANSIENT, DeadlineExceeded) as error:
        answered = isinstance(error, asyncpg.PostgresError) and not isinstance(
            error, asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError
        )
        raise DatabaseAway(
            f"{type(error).__name__}: {error}",
            code="database.refused" if answered else "",
            hint="" if answered else "check DATABASE_URL and that PostgreSQL is running",
        ) from error
    finally:
        await link.close()
