"""Bounds on work: requests in progress, and what is shed when the loop is late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from router.errors import ShedError
from router.keys import Key
from router.settings import LimitSettings

LATE = 0.2
"""Share of the limit by which the loop is late when turns begin to be timed."""
CALM = 20
"""Measurements without being late until they are no longer."""


class Reached(Protocol):
    """A connection: when the shedder last looked at it."""

    reached: float


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
    """Turns requests away that would be answered too late.

    One turn of the loop goes over all connections that have something to say, some of them again
    and again while it lasts. What it reaches has waited since the turn began, or since the same
    connection was reached before, if that was later: no longer than that, and under load hardly
    less. While the loop is late at all, whoever has waited for longer than the limit is turned
    away, which costs a third of an answer; everybody else is answered.

    Attributes:
        active: the loop is or was late just now: turns are timed.

    Args:
        limit_ms: how long a request may wait.
        next_turn: has a function called in the next turn of the loop.
        clock: steady, in seconds.
    """

    def __init__(
        self,
        limit_ms: float,
        next_turn: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._limit_s = limit_ms / 1000
        self._next_turn = next_turn or _call_soon
        self._clock = clock
        self._began = 0.0
        self._open = False
        self._calm = 0
        self.active = False

    def measure(self, late_s: float) -> None:
        """Take note of how late a timer of the loop fired."""
        if late_s > self._limit_s * LATE:
            self._calm = CALM
        self._calm = max(self._calm - 1, 0)
        self.active = self._calm > 0

    def sheds(self, connection: Reached | None = None) -> bool:
        """Whether this request has waited too long.

        Args:
            connection: that it came on; what comes next on it has waited from now on.
        """
        now = self._clock()
        since = now if not self._open else self._began
        if connection is not None:
            since = max(since, connection.reached)
            connection.reached = now
        if not self._open:
            self._open = True
            self._began = now
            self._next_turn(self._close)
        return now - since > self._limit_s

    def _close(self) -> None:
        self._open = False


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


BUSY = ShedError("the worker is busy: the request would have waited too long")
