"""The work's view of its job: what to do, where to report, and the right to write."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from compiler.errors import AppError
from control_plane.db.pool import Connection, Pool
from control_plane.jobs import store
from control_plane.jobs.schemas import Event, Level, Note, Order, Progress

REPORT_EVERY_S = 0.1
"""Progress is not written more often than this, so that a tight loop may report every step."""


class JobLostError(AppError):
    """The job was given to another worker while this one was silent."""

    code = "job.lost"


class Task:
    """One attempt at one job, inside the child process."""

    def __init__(
        self,
        order: Order,
        pool: Pool,
        write: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.order = order
        self.claim = order.claim
        self.payload = order.claim.payload
        self.pool = pool
        self._write = write
        self._clock = clock
        self._last = float("-inf")
        self._step = ""

    def progress(self, fraction: float, step: str, live: dict[str, Any] | None = None) -> None:
        """Say how far the work is; cheap enough for inner loops.

        Args:
            fraction: 0 to 1.
            step: what is being done, in a few words.
            live: numbers worth watching, shown with the job; None leaves them as they are.
        """
        now = self._clock()
        if live is None and step == self._step and now - self._last < REPORT_EVERY_S:
            return
        self._last, self._step = now, step
        self._write(Progress(min(max(fraction, 0.0), 1.0), step, live))

    def note(self, line: str, level: Level = "info") -> None:
        """Write a line into the job's log."""
        self._write(Note(line, level))

    @asynccontextmanager
    async def transaction(self, *, deadline_s: float | None = None) -> AsyncIterator[Connection]:
        """A transaction that is only valid while this attempt owns the job.

        Raises:
            JobLostError: another worker has it; nothing is written.
        """
        async with self.pool.transaction(deadline_s=deadline_s) as connection:
            if not await store.own(connection, self.claim):
                raise JobLostError
            yield connection
