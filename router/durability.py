"""Answers held until their records are as durable as the endpoint promises.

process   nothing to wait for
flush     nothing to wait for; the spool is forced to the disk every ``flush_ms``
strict    until the disk has the record
shipped   until Postgres has it

A record that does not get there in time keeps its answer from leaving: the caller reads 503 and
may ask again, and an event in the evidence says that the answer was withheld.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from router.desk import Desk
from router.errors import ShedError
from router.later import Later
from serving.audit.durability import GroupSync, ShippedWait, SyncFailed
from serving.audit.record import SCHEMA_VERSION, EventRecord
from serving.audit.room import SpoolFull

HELD = frozenset({"strict", "shipped"})
"""Levels at which answers wait."""
LATE = "audit.durability_late"

_log = logging.getLogger(__name__)


class Held(Later):
    """An answer that is ready, and waits for its record only.

    Attributes:
        answer: JSON body of a 200.
        safe: done when the record is as durable as promised.
        timeout_s: how long that may take.
        check: raises what became of it instead.
    """

    __slots__ = ("answer", "check", "safe", "timeout_s")

    def __init__(
        self, answer: bytes, safe: asyncio.Future[None], timeout_s: float, check: Callable[[], None]
    ) -> None:
        super().__init__(self._work)
        self.answer = answer
        self.safe = safe
        self.timeout_s = timeout_s
        self.check = check

    async def _work(self) -> bytes:
        await asyncio.wait((self.safe,), timeout=self.timeout_s)
        self.check()
        return self.answer


class Durability:
    """Holds answers of one worker.

    Args:
        desk: with the spool whose records are waited for.
        folder: the node's spool folder, where the shipper leaves its word.
        flush_ms: how often level ``flush`` forces the spool to the disk.
    """

    def __init__(self, desk: Desk, folder: Path, *, flush_ms: int) -> None:
        self._desk = desk
        self._flush_ms = flush_ms
        self._folder = folder
        self._disk: GroupSync | None = None
        self._shipped: ShippedWait | None = None
        self._levels: frozenset[str] = frozenset()

    def serve(self, levels: Iterable[str]) -> None:
        """Be ready for these levels; threads and shared memory exist only where one is needed."""
        self._levels = frozenset(levels)
        if self._disk is not None:
            self._disk.flush(self._flush_ms if "flush" in self._levels else 0)

    async def run(self) -> None:
        """Start what the levels need, within the loop; ends by cancellation."""
        self._shipped = ShippedWait(self._folder, self._desk.spool, asyncio.get_running_loop())
        try:
            while True:
                if self._disk is None and self._levels & {"strict", "flush"}:
                    self._force()
                await asyncio.sleep(self._flush_ms / 1000)
        finally:
            if self._disk is not None:
                self._disk.close()
            self._shipped.close()
            self._disk = self._shipped = None

    def exposed(self) -> tuple[int, float]:
        """Records that Postgres does not have yet, and the age of the oldest in milliseconds."""
        return (0, 0.0) if self._shipped is None else self._shipped.exposed()

    async def reached(self, level: str, timeout_s: float, endpoint: str) -> None:
        """Return when everything that was recorded so far is as durable as the level says.

        Raises:
            ShedError: the disk refused it, or the time is over.
        """
        seq = self._desk.spool.last_seq
        safe = self.wait(level, seq)
        await asyncio.wait((safe,), timeout=timeout_s)
        self.check(safe, level, seq, endpoint)

    def check(self, safe: asyncio.Future[None], level: str, seq: int, endpoint: str) -> None:
        """Look whether what was waited for has come; nobody waits any longer.

        Raises:
            ShedError: the disk refused it, or it has not come.
        """
        if not safe.done() or safe.cancelled():
            safe.cancel()
            where = "the database" if level == "shipped" else "the disk"
            late = f"the decision is recorded; {where} did not have it in time"
            raise self._withheld(endpoint, level, seq, late, LATE)
        error = safe.exception()
        if isinstance(error, SyncFailed):
            raise self._withheld(endpoint, level, seq, error.message, error.code)
        if error is not None:
            raise error

    def wait(self, level: str, seq: int) -> asyncio.Future[None]:
        """Done when a record is as durable as the level says; see :meth:`check`."""
        if level == "strict":
            return (self._disk or self._force()).wait(seq)
        assert self._shipped is not None, "started with the worker"
        return self._shipped.wait(seq)

    def _force(self) -> GroupSync:
        flush_ms = self._flush_ms if "flush" in self._levels else 0
        self._disk = GroupSync(self._desk.spool, asyncio.get_running_loop(), flush_ms=flush_ms)
        return self._disk

    def _withheld(self, endpoint: str, level: str, seq: int, why: str, code: str) -> ShedError:
        """The refusal, noted in the evidence as far as the spool still takes it."""
        now = time.time_ns()
        body = {"durability": level, "code": code, "last_seq": seq}
        event = EventRecord(
            SCHEMA_VERSION, self._desk.next_id(now), now, "answer.withheld", endpoint, None, None,
            self._desk.node, msgspec.json.encode(body),
        )  # fmt: skip
        try:
            self._desk.event(event)
        except SpoolFull as error:
            _log.error("an answer of %s was withheld unnoted: %s", endpoint, error)
        return ShedError(
            f"the answer is withheld: {why}",
            code=code,
            at=endpoint,
            hint="ask again, with an Idempotency-Key if the decision must not be made twice",
        )
