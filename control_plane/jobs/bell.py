"""Wakes the worker when a job is queued or cancelled; without a ring it looks by itself.

The ring is a PostgreSQL notification. A lost connection costs nothing but the polling interval,
and is opened again in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Self

import asyncpg

CHANNEL = "interlock_jobs"
_log = logging.getLogger(__name__)


class Bell:
    """Listens on a connection of its own."""

    def __init__(self, database_url: str, *, retry_s: float = 2.0, check_s: float = 15.0) -> None:
        self._url = database_url
        self._retry_s = retry_s
        self._check_s = check_s
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to listen in the background."""
        self._task = asyncio.create_task(self._listen(), name="jobs: bell")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def ring(self, *_: Any) -> None:
        """Wake everybody who waits now."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next ring, or after a time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(10):
                    connection = await asyncpg.connect(self._url)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("jobs: cannot listen (%s); polling", type(error).__name__)
                await asyncio.sleep(self._retry_s)
                continue
            try:
                async with asyncio.timeout(10):
                    await connection.add_listener(CHANNEL, self.ring)
                self.ring()  # what was queued before the connection stood has rung unheard
                while True:
                    await asyncio.sleep(self._check_s)
                    async with asyncio.timeout(10):
                        await connection.execute("SELECT 1")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("jobs: lost the listening connection (%s)", type(error).__name__)
            finally:
                connection.terminate()
