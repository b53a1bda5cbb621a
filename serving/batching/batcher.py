"""One queue, a few threads: rows of many callers scored together, each answered exactly once.

A caller's future is settled once: answer, its own error, deadline, or it was cancelled and is left
alone. A cancelled or expired caller never takes its batch-mates with it, and a row that the model
cannot answer fails only its own caller: the batch is then scored call by call.

Nothing runs while nobody asks: a batcher that is no longer referenced is simply gone, and its idle
threads with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from serving.batching.window import AdaptiveWindow
from serving.limits import BatchSettings
from serving.priority import give_way
from serving.types import Outputs, OutputTuple

Run = Callable[[NDArray[np.float32]], Outputs]
Answer = list[OutputTuple] | BaseException


class QueueFullError(AppError):
    """Too many rows are waiting for this model."""

    code = "limit.queue"


class DeadlineError(AppError):
    """The answer was not ready before the caller's deadline."""

    code = "deadline.exceeded"


class BatcherClosedError(AppError):
    """The model is being replaced or the process is stopping."""

    code = "model.draining"


class Call(Struct, eq=False):
    """Rows of one caller.

    Attributes:
        rows: lowered rows, shape (n, width).
        future: one answer per row, in order; cancelling it takes the rows out of the queue.
        deadline: on the batcher's clock.
        spent_ns: this call's share of the run that answered it.
    """

    rows: NDArray[np.float32]
    future: asyncio.Future[list[OutputTuple]]
    deadline: float
    spent_ns: int = 0


class MicroBatcher:
    """Scores rows of concurrent callers in batches, off the event loop.

    Used from one event loop.

    Attributes:
        waiting: rows in the queue, those of callers that left included until the room is needed.
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
        self._queue: deque[Call] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._drained: asyncio.Future[None] | None = None
        self.waiting = 0
        self.batches = 0
        self.rows = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain()

    async def score(
        self, row: NDArray[np.float32], *, timeout_s: float | None = None
    ) -> OutputTuple:
        """The answer for one lowered row, shape (width,).

        Raises:
            AppError: as :meth:`submit`, and the model's own error for this row.
        """
        return (await self.submit(row[None, :], timeout_s=timeout_s).future)[0]

    def need_room(self, rows: int) -> None:
        """Refuse what the queue could not take.

        Raises:
            QueueFullError: refused at once, nothing was queued.
            BatcherClosedError: the batcher is draining.
        """
        if self._drained is not None:
            raise BatcherClosedError
        limit = self._settings.max_queue
        if self.waiting + rows <= limit or not self._queue:
            return
        self._queue = deque(call for call in self._queue if not call.future.done())
        self.waiting = sum(len(call.rows) for call in self._queue)
        if self._queue and self.waiting + rows > limit:
            raise QueueFullError(
                f"{self.waiting} rows are waiting, the limit is {limit}",
                hint="ask again in a moment, or spread the load over more nodes",
            )

    def submit(self, rows: NDArray[np.float32], *, timeout_s: float | None = None) -> Call:
        """Queue lowered rows, shape (n, width), to be answered together.

        ``call.future`` gives one answer per row, or raises ``DeadlineError`` when ``timeout_s``
        passed first, or the model's own error.

        Raises:
            QueueFullError, BatcherClosedError: as :meth:`need_room`.
        """
        self.need_room(len(rows))
        loop = asyncio.get_running_loop()
        now = self._clock()
        self._window.arrived(now)
        deadline = float("inf") if timeout_s is None else now + timeout_s
        call = Call(rows, loop.create_future(), deadline)
        if timeout_s is not None:
            timer = loop.call_later(timeout_s, _expire, call.future)
            call.future.add_done_callback(lambda _: timer.cancel())
        self._queue.append(call)
        self.waiting += len(rows)
        self._turn()
        return call

    async def drain(self) -> None:
        """Refuse new calls, answer everything that waits, stop the threads."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        self._turn()
        await self._drained
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _turn(self) -> None:
        """Start what can be started now, or a timer for it."""
        while self._queue and self._running < self._settings.threads:
            wait = self._window.wait_s(len(self._queue), self._cost_s)
            if wait > 0 and self._drained is None:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(wait, self._waited)
                return
            self._start()
        drained = self._drained
        if drained is not None and not (self._queue or self._running or drained.done()):
            drained.set_result(None)

    def _waited(self) -> None:
        """The wait for company is over."""
        self._timer = None
        if self._running < self._settings.threads:
            self._start()
        self._turn()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = self._take()
        if not batch:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                self._settings.threads, thread_name_prefix="score", initializer=give_way
            )
        self._running += 1
        loop = asyncio.get_running_loop()
        start = self._clock()

        def done(run: Future[list[Answer]]) -> None:
            if not loop.is_closed():  # at the very end nobody waits any more
                loop.call_soon_threadsafe(self._finish, batch, run, start)

        self._pool.submit(self._score, [call.rows for call in batch]).add_done_callback(done)

    def _take(self) -> list[Call]:
        """The next calls that somebody still waits for, oldest first."""
        batch: list[Call] = []
        rows = 0
        now = self._clock()
        while self._queue:
            call = self._queue[0]
            if batch and rows + len(call.rows) > self._settings.max_rows:
                break
            self._queue.popleft()
            self.waiting -= len(call.rows)
            if call.future.done():
                continue
            if call.deadline <= now:
                _expire(call.future)
                continue
            batch.append(call)
            rows += len(call.rows)
        return batch

    def _finish(self, batch: list[Call], run: Future[list[Answer]], start: float) -> None:
        """Back on the loop: settle everybody, start the next run."""
        spent = self._clock() - start
        self._running -= 1
        self._cost_s += 0.1 * (spent - self._cost_s)
        self.batches += 1
        error = run.exception()
        answers = run.result() if error is None else [error] * len(batch)
        rows = sum(len(call.rows) for call in batch) or 1
        for call, answer in zip(batch, answers, strict=True):
            if call.future.done():
                continue  # cancelled or expired meanwhile; its mates are answered all the same
            call.spent_ns = int(spent * 1e9 * len(call.rows) / rows)
            if isinstance(answer, BaseException):
                call.future.set_exception(answer)
            else:
                self.rows += len(call.rows)
                call.future.set_result(answer)
        self._turn()

    def _score(self, parts: list[NDArray[np.float32]]) -> list[Answer]:
        """In a thread: the batch, or call by call when one of them fails."""
        try:
            outputs = self._run(parts[0] if len(parts) == 1 else np.concatenate(parts))
            answers = outputs.rows()
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [self._score([part])[0] for part in parts]
        found: list[Answer] = []
        place = 0
        for part in parts:
            found.append(answers[place : place + len(part)])
            place += len(part)
        return found


def _expire(future: asyncio.Future[list[OutputTuple]]) -> None:
    if not future.done():
        future.set_exception(DeadlineError("the deadline passed before the model answered"))
