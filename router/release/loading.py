"""Taking new releases without being noticed: in a thread that gives way, with pauses in between.

Loading a release is tens of milliseconds of reading, hashing, compiling and trying out. It runs
off the event loop, but in the same interpreter and on the same cores, so a worker that loaded
without a pause would answer slower all the time. A pause after each load, in proportion to what
it took, bounds the share of time in which loading can be felt; a single release is never held up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from router.release.current import Current, ReleaseLoader
from router.release.disk import Snapshot
from serving.priority import give_way

PAUSE_FACTOR = 19.0
"""Loading takes at most a twentieth of the time."""
MAX_PAUSE_S = 0.5
"""A change never waits longer than this for the pause after the one before."""


class Loading:
    """Applies snapshots one after the other.

    Args:
        loader: makes the next state.
        clock: steady, in seconds.
        sleep: waits on the loop.
    """

    def __init__(
        self,
        loader: ReleaseLoader,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._loader = loader
        self._clock = clock
        self._sleep = sleep
        self._thread: ThreadPoolExecutor | None = None
        self._calm_at = 0.0

    async def calm(self) -> None:
        """Wait out the pause after the last load."""
        await self._sleep(max(0.0, self._calm_at - self._clock()))

    async def apply(self, snapshot: Snapshot, current: Current, *, at_start: bool) -> Current:
        """The next state.

        Args:
            snapshot: what to serve.
            current: what is served now.
            at_start: nobody is served yet: there is nothing to give way to.
        """
        if at_start:
            return await asyncio.to_thread(self._loader.apply, snapshot, current)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="load", initializer=give_way)
        loop = asyncio.get_running_loop()
        start = self._clock()
        found = await loop.run_in_executor(self._thread, self._loader.apply, snapshot, current)
        took = self._clock() - start
        self._calm_at = self._clock() + min(PAUSE_FACTOR * took, MAX_PAUSE_S)
        return found
