"""Bounds on work: requests in progress, and what is shed when the loop is late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from router.errors import ShedError
from router.keys import Key
from router.settings import LimitSettings

LATE = 0.2
"""Share of the limit by which the loop is late when turns begin to be timed."""
CALM = 20
"""Measurements without being late until they are no longer."""


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

    One turn of the loop goes over all connections that have something to say, and a request waits
    about as long as the turn has lasted when it is reached. While the loop is late at all, a turn
    answers for as long as the limit and turns away whatever it still reaches after that. So the
    time that goes into answers is the limit of every turn, however many ask.

    Attributes:
        active: the loop is or was late just now: turns are timed.

    Args:
        limit_ms: how long a turn may answer.
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
        self._until = 0.0
        self._open = False
        self._calm = 0
        self.active = False

    def measure(self, late_s: float) -> None:
        """Take note of how late a timer of the loop fired."""
        if late_s > self._limit_s * LATE:
            self._calm = CALM
        self._calm = max(self._calm - 1, 0)
        self.active = self._calm > 0

    def sheds(self) -> bool:
        """Whether this request comes too late in its turn."""
        if self._open:
            return self._clock() > self._until
        self._open = True
        self._until = self._clock() + self._limit_s
        self._next_turn(self._close)
        return False

    def _close(self) -> None:
        self._open = False


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


BUSY = ShedError("the worker is busy: the request would have waited too long")
