"""Bounds on work: requests in progress, and what is shed when the loop is late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from router.errors import ShedError
from router.keys import Key
from router.settings import LimitSettings


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
