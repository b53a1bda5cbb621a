"""Forcing the spool to disk: in groups for answers that wait, in the background for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from serving.audit.segment import SegmentWriter


class GroupSync:
    """One fdatasync at a time serves everybody who waits.

    Attributes:
        synced: last sequence number that is known to be on disk.
    """

    def __init__(self, spool: SegmentWriter) -> None:
        self._spool = spool
        self._running: asyncio.Task[None] | None = None
        self.synced = 0

    async def wait(self) -> None:
        """Return when everything appended before the call is on disk."""
        wanted = self._spool.last_seq
        while self.synced < wanted:
            if self._running is None:
                self._running = asyncio.create_task(self._sync(), name="sync")
            await asyncio.shield(self._running)

    async def _sync(self) -> None:
        try:
            self.synced = await asyncio.to_thread(self._spool.sync)
        finally:
            self._running = None

    async def keep(self, every_s: float, wanted: Callable[[], bool]) -> None:
        """Force appended records to disk again and again while wanted; ends by cancellation."""
        while True:
            await asyncio.sleep(every_s)
            if wanted() and self._spool.last_seq != self.synced:
                await self.wait()
