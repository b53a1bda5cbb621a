"""Bounds on work: rates of keys, requests in progress, and what is shed when the loop is late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from router.errors import QuotaError, ShedError
from router.keys import Key
from router.settings import LimitSettings


class Bucket:
    """Tokens of one key on this worker: ``rate`` a second, ``burst`` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take a token; 0 when there was one, else seconds until there is."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate if self._rate > 0 else 60.0


def rate_of(key: Key, workers: int, now: float) -> Bucket | None:
    """The bucket of a key; each worker of a node has an equal share of its rate."""
    row = key.row
    if row.rate_per_s is None:
        return None
    burst = row.burst if row.burst is not None else 2 * row.rate_per_s
    return Bucket(row.rate_per_s / workers, burst / workers, now)


def spend(key: Key, workers: int) -> None:
    """Take a token of a key.

    Raises:
        QuotaError: its rate is used up.
    """
    if key.row.rate_per_s is None:
        return
    now = time.monotonic()
    if not isinstance(key.bucket, Bucket):
        key.bucket = rate_of(key, workers, now)
        assert isinstance(key.bucket, Bucket)
    wait_s = key.bucket.take(now)
    if wait_s:
        raise QuotaError(
            f"key {key.id} is for {key.row.rate_per_s:g} requests a second",
            retry_after_s=max(1, round(wait_s)),
        )


class InFlight:
    """Requests in progress on the slow lane of one worker."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self.count = 0

    @contextmanager
    def hold(self, key: Key | None) -> Iterator[None]:
        """A place for one request.

        Raises:
            ShedError: all places are taken, or all of this key.
        """
        if self.count >= self._settings.in_flight:
            raise ShedError("too many requests are in progress on this worker", code="limit.node")
        if key is not None:
            limit = key.row.in_flight or self._settings.in_flight_per_key
            if key.pending >= limit:
                raise ShedError(f"key {key.id} has {limit} requests in progress", code="limit.key")
            key.pending += 1
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            if key is not None:
                key.pending -= 1


class Shedder:
    """Sheds a share of the requests while the loop is so late that they would wait too long.

    A request waits about as long as the loop takes for one turn over all connections that have
    something to say. Answering 503 costs a fraction of a decision, so turning away the part that
    is too much brings the turn back under the limit.

    Attributes:
        active: some share is shed now.
    """

    def __init__(self, limit_ms: float) -> None:
        self._limit_s = limit_ms / 1000
        self._share = 0.0
        self._owed = 0.0
        self.active = False

    def measure(self, late_s: float) -> None:
        """Take note of how late a timer of the loop fired."""
        excess = 0.0 if late_s <= self._limit_s else 1.0 - self._limit_s / late_s
        self._share = max(excess, self._share * 0.7 - 0.01) if excess < self._share else excess
        self._share = max(self._share, 0.0)
        self.active = self._share > 0.0

    def sheds(self) -> bool:
        """Whether this request is one of the share."""
        self._owed += self._share
        if self._owed < 1.0:
            return False
        self._owed -= 1.0
        return True


BUSY = ShedError("the worker is busy: the request would have waited too long")
