"""Rates of keys: one bucket of tokens per key for all nodes, spent from leases without waiting.

A request must not wait for Redis. Each worker holds a lease of tokens of every key that is busy
here, spends it, and has it filled up from the shared bucket a few times a second, or at once when
it runs low; a key that falls idle gives its lease back. Without Redis each worker refills its own
lease with an equal share of the node.

How far a key can get beyond its rate: a worker that sees an idle key for the first time spends its
share of the burst before it has asked, so the first moment may take a burst per node; the shared
bucket then goes below zero and the rate holds over any longer time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from router.errors import QuotaError
from router.keys import Key, KeyRow
from router.ledger import Claim, Ledger, LedgerAwayError

AWAY_S = 2.0
"""Leases older than this are no longer believed in: Redis is away."""
IDLE_S = 60.0
"""A key that was not asked for this long is forgotten here."""
LEAST_PAUSE_S = 0.01
"""Between two settlements, however fast leases run out."""
HEADROOM = 1.5
"""A lease is filled up to this much more than what was asked for since the last time."""
LOW = 0.3
"""Share of a full lease at which it is filled up early."""

_log = logging.getLogger(__name__)


class Lease:
    """Tokens of one key that this worker may spend.

    Args:
        row: of the key; it has a rate.
        workers: of this node, each with an equal share while Redis is away.
        now: monotonic seconds.
    """

    __slots__ = ("_asked", "_at", "_full", "_owed", "_workers", "burst", "row", "tokens")

    def __init__(self, row: KeyRow, workers: int, now: float) -> None:
        assert row.rate_per_s is not None
        self.row = row
        self.burst = float(max(row.burst if row.burst is not None else 2 * row.rate_per_s, 1.0))
        self._workers = workers
        self.tokens = self._full = max(self.burst / workers, 1.0)
        self._owed = self.tokens  # nobody has taken these out of the shared bucket yet
        self._asked = 0
        self._at = now

    @property
    def idle_since(self) -> float:
        """When it was last asked."""
        return self._at

    @property
    def low(self) -> bool:
        """Whether it should be filled up before its time."""
        return self.tokens < max(1.0, LOW * self._full)

    def take(self, now: float, *, shared: bool) -> float:
        """Take a token; 0 when there was one, else seconds until there may be one."""
        self._asked += 1
        rate = self.row.rate_per_s or 0.0
        if not shared:
            share = rate / self._workers
            most = max(self.burst / self._workers, 1.0)
            self.tokens = min(most, self.tokens + (now - self._at) * share)
        self._at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / rate if shared else (1.0 - self.tokens) * self._workers / rate

    def claim(self) -> Claim | None:
        """What to settle; None when there is nothing to say.

        What is held stays here while the answer is awaited: a request in between must not be
        refused for it. An idle key keeps a single token for the same reason.
        """
        first, self._owed = self._owed, 0.0
        if self._asked:
            self._full = min(self._asked * HEADROOM + 1, self.burst)
            self._asked = 0
            back, want = 0.0, max(0.0, self._full - self.tokens)
        else:
            back, want = max(0.0, self.tokens - 1.0), 0.0
            self.tokens -= back
        back -= first
        if not back and not want:
            return None
        return Claim(self.row.key_id, self.row.rate_per_s or 0.0, self.burst, back, want)


class Rates:
    """Leases of one worker.

    Args:
        workers: of this node.
        ledger: shared buckets; None keeps to equal shares of the node.
        lease_s: seconds between settlements.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        workers: int,
        ledger: Ledger | None = None,
        lease_s: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._ledger, self._lease_s, self._clock = workers, ledger, lease_s, clock
        self._leases: dict[str, Lease] = {}
        self._shared_until = clock() + AWAY_S if ledger is not None else float("-inf")
        self._wake = asyncio.Event()

    def spend(self, key: Key) -> None:
        """Take a token of a key that has a rate.

        Raises:
            QuotaError: its rate is used up.
        """
        now = self._clock()
        lease = self._leases.get(key.id)
        if lease is None or lease.row != key.row:
            lease = self._leases[key.id] = Lease(key.row, self._workers, now)
        wait_s = lease.take(now, shared=now < self._shared_until)
        if lease.low:
            self._wake.set()
        if wait_s:
            raise QuotaError(
                f"key {key.id} is for {key.row.rate_per_s:g} requests a second",
                retry_after_s=max(1, round(wait_s)),
            )

    async def settle(self) -> None:
        """Fill up the leases of busy keys and return those of idle ones.

        Raises:
            LedgerAwayError: nobody answered; until somebody does, keys have a share of the node.
        """
        assert self._ledger is not None
        claims: list[tuple[Lease, Claim]] = []
        for lease in self._leases.values():
            claim = lease.claim()
            if claim is not None:
                claims.append((lease, claim))
        if not claims:
            return
        try:
            granted = await self._ledger.settle([claim for _, claim in claims])
        except LedgerAwayError:
            self._shared_until = float("-inf")
            raise
        self._shared_until = self._clock() + AWAY_S
        for (lease, _), tokens in zip(claims, granted, strict=True):
            lease.tokens += tokens

    async def keep(self) -> None:
        """Settle for ever; ends by cancellation."""
        while self._ledger is None:
            await asyncio.sleep(IDLE_S)
            self._forget()
        away = False
        try:
            while True:
                away = await self._turn(away=away)
        finally:
            await self._ledger.close()

    async def _turn(self, *, away: bool) -> bool:
        """One pause and one settlement; whether Redis is away."""
        try:
            async with asyncio.timeout(self._lease_s):
                await self._wake.wait()
        except TimeoutError:
            self._forget()
        self._wake.clear()
        try:
            await self.settle()
        except LedgerAwayError as error:
            if not away:
                _log.warning("shared limits are away (%s): each node keeps its own", error)
            await asyncio.sleep(self._lease_s)
            return True
        if away:
            _log.info("limits are shared again")
        await asyncio.sleep(LEAST_PAUSE_S)
        return False

    def _forget(self) -> None:
        """Drop keys nobody uses."""
        before = self._clock() - IDLE_S
        for name in [n for n, lease in self._leases.items() if lease.idle_since < before]:
            del self._leases[name]
