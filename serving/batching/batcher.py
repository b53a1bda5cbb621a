"""One queue, a few threads: rows of many callers scored together, each answered exactly once.

A caller's future is settled once: answer, its own error, deadline, or it was cancelled and is left
alone. A cancelled or expired caller never takes its batch-mates with it, and a row that the model
cannot answer fails only its own caller: the batch is then scored row by row.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from serving.batching.window import AdaptiveWindow
from serving.types import Outputs, OutputTuple

Run = Callable[[NDArray[np.float32]], Outputs]


class QueueFullError(AppError):
    """Too many calls are waiting for this model."""

    code = "limit.queue"


class DeadlineError(AppError):
    """The answer was not ready before the caller's deadline."""

    code = "deadline.exceeded"


class BatcherClosedError(AppError):
    """The model is being replaced or the process is stopping."""

    code = "model.draining"


class BatchSettings(Struct, frozen=True):
    """Limits of one batcher.

    Attributes:
        max_rows: rows of one run.
        max_queue: calls that may wait; more are refused at once.
        threads: runs at the same time.
        max_wait_s: longest wait for company.
    """

    max_rows: int = 64
    max_queue: int = 1024
    threads: int = 1
    max_wait_s: float = 0.0005


class _Call(Struct):
    row: NDArray[np.float32]
    future: asyncio.Future[OutputTuple]
    deadline: float


class MicroBatcher:
    """Scores rows of concurrent callers in batches, off the event loop.

    Attributes:
        batches: runs so far.
        rows: rows answered so far.
    """

    def __init__(
        self,
        run: Run,
        *,
        settings: BatchSettings | None = None,
        cost_s: float = 0.001,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._settings = settings or BatchSettings()
        self._clock = clock
        self._cost_s = cost_s
        self._window = AdaptiveWindow(self._settings.max_wait_s)
        self._queue: deque[_Call] = deque()
        self._arrival = asyncio.Event()
        self._free = asyncio.Semaphore(self._settings.threads)
        self._running: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closing = False
        self.batches = 0
        self.rows = 0

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="score")
        self._loop_task = asyncio.create_task(self._collect(), name="batcher")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    async def score(
        self, row: NDArray[np.float32], *, timeout_s: float | None = None
    ) -> OutputTuple:
        """The answer for one lowered row, shape (width,).

        Raises:
            QueueFullError: refused at once, nothing was queued.
            DeadlineError: ``timeout_s`` passed first.
            BatcherClosedError: the batcher is draining.
            AppError: the model's own error for this row.
        """
        if self._closing:
            raise BatcherClosedError
        if len(self._queue) >= self._settings.max_queue:
            self._drop_settled()
            if len(self._queue) >= self._settings.max_queue:
                raise QueueFullError(f"{len(self._queue)} calls are waiting")
        now = self._clock()
        self._window.arrived(now)
        loop = asyncio.get_running_loop()
        deadline = float("inf") if timeout_s is None else now + timeout_s
        call = _Call(row, loop.create_future(), deadline)
        self._queue.append(call)
        self._arrival.set()
        if timeout_s is None:
            return await call.future
        timer = loop.call_later(timeout_s, _expire, call.future)
        try:
            return await call.future
        finally:
            timer.cancel()

    async def drain(self) -> None:
        """Refuse new calls, answer everything that waits, stop the threads."""
        self._closing = True
        self._arrival.set()
        if self._loop_task is not None:
            await self._loop_task
            self._loop_task = None
        if self._running:
            await asyncio.gather(*self._running)
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    async def _collect(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            await self._free.acquire()
            wait = self._window.wait_s(len(self._queue), self._cost_s)
            if wait > 0 and not self._closing:
                await asyncio.sleep(wait)
            batch = self._take()
            if not batch:
                self._free.release()
                continue
            task = asyncio.create_task(self._answer(batch), name="batch")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _drop_settled(self) -> None:
        """Make room: callers that left no longer count as waiting."""
        self._queue = deque(call for call in self._queue if not call.future.done())

    def _take(self) -> list[_Call]:
        """The next calls that somebody still waits for, oldest first."""
        batch: list[_Call] = []
        now = self._clock()
        while self._queue and len(batch) < self._settings.max_rows:
            call = self._queue.popleft()
            if call.future.done():
                continue
            if call.deadline <= now:
                _expire(call.future)
                continue
            batch.append(call)
        return batch

    async def _answer(self, batch: list[_Call]) -> None:
        loop = asyncio.get_running_loop()
        rows = np.stack([call.row for call in batch])
        start = self._clock()
        try:
            assert self._pool is not None
            answers = await loop.run_in_executor(self._pool, self._score, rows)
        except BaseException as error:
            if not isinstance(error, Exception):  # the process is going: nobody may wait forever
                for call in batch:
                    call.future.cancel()
                raise
            answers = [error] * len(batch)
        finally:
            self._free.release()
            self._cost_s += 0.1 * (self._clock() - start - self._cost_s)
        self.batches += 1
        for call, answer in zip(batch, answers, strict=True):
            if call.future.done():
                continue  # cancelled or expired meanwhile; its mates are answered all the same
            if isinstance(answer, BaseException):
                call.future.set_exception(answer)
            else:
                self.rows += 1
                call.future.set_result(answer)

    def _score(self, rows: NDArray[np.float32]) -> list[OutputTuple | BaseException]:
        """In a thread: the batch, or row by row when one of them fails."""
        try:
            outputs = self._run(rows)
        except Exception as error:
            if len(rows) == 1:
                return [error]
            return [self._score(rows[place : place + 1])[0] for place in range(len(rows))]
        return [outputs.row(place) for place in range(len(rows))]


def _expire(future: asyncio.Future[OutputTuple]) -> None:
    if not future.done():
        future.set_exception(DeadlineError())
