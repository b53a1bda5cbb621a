"""How durable a record is when its answer leaves, and what a lost disk would take.

process   appended: survives the death of any process (nothing to wait for)
flush     as process; the disk has it at most ``flush_ms`` later
strict    the answer waits until the disk has it; one fdatasync serves all that wait
shipped   the answer waits until Postgres has it
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from compiler.errors import AppError
from serving.audit.ack import AckFile
from serving.audit.segment import SegmentWriter

ACK_POLL_S = 0.002
"""How often shared memory is looked at while answers wait for the shipper."""
SAMPLE_S = 0.05
MOST_SAMPLES = 2048
"""Times that are kept while the database is away; then every other one is let go of."""
GATHER_S = 0.0005
"""Least pause between two syncs: what comes meanwhile shares the next one."""


class SyncFailed(AppError):  # noqa: N818 - names what happened
    """The disk did not take the record."""

    code = "audit.sync_failed"


class GroupSync:
    """Answers that wait for the disk; one thread forces the file for all of them at once.

    Args:
        writer: whose records.
        loop: loop on which waiters are woken.
        flush_ms: force the file this often even when nobody waits; 0 only on demand.
    """

    def __init__(
        self, writer: SegmentWriter, loop: asyncio.AbstractEventLoop, *, flush_ms: int = 0
    ) -> None:
        self._writer = writer
        self._loop = loop
        self._flush_s = flush_ms / 1000 if flush_ms else None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self.covered = 0
        self.failures = 0
        self._synced_at = 0.0
        self._thread = threading.Thread(target=self._run, name="spool-sync", daemon=True)
        self._thread.start()

    def wait(self, seq: int) -> asyncio.Future[None]:
        """Done once the disk has everything up to ``seq``; fails with :class:`SyncFailed`."""
        future: asyncio.Future[None] = self._loop.create_future()
        if seq <= self.covered:
            future.set_result(None)
        else:
            self._waiting.append((seq, future))
            self._wake.set()
        return future

    def flush(self, every_ms: int) -> None:
        """Force the file this often from now on; 0 only on demand."""
        self._flush_s = every_ms / 1000 if every_ms else None
        self._wake.set()

    def close(self) -> None:
        """One last sync for those who wait, then the thread ends."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._settle(self.covered, None)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            ending = self._closing
            if self._writer.last_seq > self.covered:
                early_s = self._synced_at + GATHER_S - time.monotonic()
                if early_s > 0 and not ending:
                    time.sleep(early_s)
                self._force()
                self._synced_at = time.monotonic()
            elif self._waiting:  # came between the last sync and its announcement
                self._hand_over(self.covered, None)
            if ending:
                return

    def _force(self) -> None:
        try:
            covered = self._writer.sync()
        except OSError as error:
            self.failures += 1
            self._hand_over(self._writer.last_seq, error)
        else:
            self.covered = covered
            self._hand_over(covered, None)

    def _hand_over(self, covered: int, error: OSError | None) -> None:
        if self._waiting and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, covered, error)

    def _settle(self, covered: int, error: OSError | None) -> None:
        """On the loop: wake everybody up to ``covered``; those who gave up are passed over."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= covered:
            future = waiting.popleft()[1]
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(SyncFailed(f"the disk refused the record: {error.strerror}"))
        if waiting:
            self._wake.set()


class ShippedWait:
    """Answers that wait for Postgres; the shipper tells through shared memory.

    Args:
        folder: the node's spool folder.
        writer: whose records.
        loop: loop on which waiters are woken.
        monotonic: clock of the exposure gauge, seconds.
    """

    def __init__(
        self,
        folder: Path,
        writer: SegmentWriter,
        loop: asyncio.AbstractEventLoop,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._loop = loop
        self._monotonic = monotonic
        self._ack = AckFile(folder, writer.boot, writer.worker)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._polling = False
        self._samples: deque[tuple[float, int]] = deque()
        self._sample_gap = 0.0

    def wait(self, seq: int) -> asyncio.Future[None]:
        """Done once the database has everything up to ``seq``."""
        future: asyncio.Future[None] = self._loop.create_future()
        if seq <= self._ack.shipped:
            future.set_result(None)
            return future
        self._waiting.append((seq, future))
        self._ack.want(seq)
        if not self._polling:
            self._polling = True
            self._loop.call_later(ACK_POLL_S, self._poll)
        return future

    def exposed(self) -> tuple[int, float]:
        """Records that only this node has, and the age of the oldest in milliseconds.

        Call it regularly (a metrics tick, every ``SAMPLE_S``): the age is as fine as the calls, and
        coarser by a part in a thousand or two once the database has been away for long.
        """
        now = self._monotonic()
        last, shipped = self._writer.last_seq, self._ack.shipped
        samples = self._samples
        while samples and samples[0][1] <= shipped:
            samples.popleft()
        if not samples:
            self._sample_gap = 0.0
        if last > shipped and (
            not samples or (samples[-1][1] < last and now - samples[-1][0] >= self._sample_gap)
        ):
            samples.append((now, last))
        if len(samples) > MOST_SAMPLES:  # the oldest stays
            self._samples = deque(list(samples)[::2])
            self._sample_gap = (now - samples[0][0]) / len(self._samples)
        age = now - self._samples[0][0] if self._samples else 0.0
        return max(0, last - shipped), age * 1000

    def close(self) -> None:
        """Let go of the shared memory; whoever still waits is cancelled."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._ack.close()

    def _poll(self) -> None:
        waiting = self._waiting
        if waiting:
            shipped = self._ack.shipped
            while waiting and waiting[0][0] <= shipped:
                future = waiting.popleft()[1]
                if not future.done():
                    future.set_result(None)
        if waiting:
            self._loop.call_later(ACK_POLL_S, self._poll)
        else:
            self._polling = False
