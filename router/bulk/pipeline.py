"""The flow of a job: a reader thread, scoring threads, and results in the order of the rows.

    reader -> a bounded number of blocks -> scoring threads -> results in order -> the caller

The reader waits when the blocks in flight are enough, so memory does not grow with the input. An
error anywhere ends the flow; the caller gets it in the place of the result.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
DEPTH = 5
"""Blocks in flight beside one per worker: scoring goes on while the caller writes a part."""


class _Feeder(Generic[Item, Result]):
    """Reads items and hands them to the scoring threads."""

    def __init__(
        self,
        items: Iterable[Item],
        score: Callable[[Item], Result],
        pool: ThreadPoolExecutor,
        depth: int,
    ) -> None:
        self.queue: queue.Queue[Future[Result] | None] = queue.Queue(depth)
        self.stopped = threading.Event()
        self._items = items
        self._score = score
        self._pool = pool

    def run(self) -> None:
        """Body of the reader thread."""
        try:
            for item in self._items:
                if self.stopped.is_set():
                    break
                self.queue.put(self._pool.submit(self._score, item))
        except BaseException as error:
            failed: Future[Result] = Future()
            failed.set_exception(error)
            self.queue.put(failed)
        self.queue.put(None)

    def stop(self, reader: threading.Thread) -> None:
        """End the reader; what is in the queue is let go."""
        self.stopped.set()
        while reader.is_alive():
            try:
                found = self.queue.get(timeout=0.05)  # the reader may wait for a free place
            except queue.Empty:
                continue
            if found is not None:
                found.cancel()
        reader.join()


def flow(
    items: Iterable[Item],
    score: Callable[[Item], Result],
    *,
    workers: int,
    prepare: Callable[[], None] | None = None,
) -> Generator[Result]:
    """Results of all items, in order, a bounded number of them in flight.

    Args:
        items: read in a thread of their own.
        score: called in several threads.
        workers: how many.
        prepare: called once in each thread before its first item.

    Raises:
        Exception: whatever reading or scoring raised, after the results before it.
    """
    pool = ThreadPoolExecutor(workers, "bulk-score", initializer=prepare)

    def read() -> None:
        if prepare is not None:
            prepare()
        feeder.run()

    feeder = _Feeder(items, score, pool, DEPTH + workers)
    reader = threading.Thread(target=read, name="bulk-read", daemon=True)
    reader.start()
    try:
        while (found := feeder.queue.get()) is not None:
            yield found.result()
    finally:
        feeder.stop(reader)
        pool.shutdown(wait=True, cancel_futures=True)
