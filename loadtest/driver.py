"""The hot loop of one generator process: send what is due, stamp what comes back.

Open loop: a request is due when the schedule says so, whatever the server does. It goes out on an
idle connection; when none is idle one is opened, and at the bound on requests in flight it waits in
line while its latency keeps counting from the schedule. Closed loop: each connection sends its next
request when its answer is complete, and the time of sending stands in for a schedule.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections import deque
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

import httptools
from msgspec import Struct

from loadtest import record
from loadtest.checks import build_check
from loadtest.plan import Limits, Sender, Target, Template
from loadtest.timer import Timer

if TYPE_CHECKING:
    from loadtest.checks import Check

_SWEEP_S = 0.05
_BURST = 64
"""Requests sent between two looks at the clock when the generator is behind."""


class Job(Struct, frozen=True):
    """One generator process's share of a plan.

    Attributes:
        path: record file, whose ``scheduled`` (offsets from the start) and ``choice`` are filled.
        size: requests in it; for a closed loop the most that may be sent.
        closed: concurrency of a closed loop, or 0.
        run_s: seconds from the start after which nothing new is sent.
    """

    path: str
    size: int
    targets: tuple[Target, ...]
    templates: tuple[Template, ...]
    limits: Limits
    sender: Sender
    statuses: tuple[int, ...]
    closed: int
    run_s: float
    cpu: int = -1
    seed: int = 1


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    __slots__ = ("body", "driver", "fd", "now", "parser", "slot", "target", "transport")

    def __init__(self, driver: Driver, target: Target) -> None:
        self.driver = driver
        self.target = target
        self.slot = -1
        self.fd = -1
        self.now = 0
        self.body: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Offer itself to the driver."""
        self.transport = cast("asyncio.Transport", transport)
        if not self.target.tls:
            self.fd = transport.get_extra_info("socket").fileno()
        self.driver.opened(self)

    def data_received(self, data: bytes) -> None:
        """Stamp the bytes, then look at them: parsing time is not the server's."""
        self.now = now = monotonic_ns()
        slot = self.slot
        if slot >= 0:
            first = self.driver.first
            if not first[slot]:
                first[slot] = now
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.driver.broken(self, record.PROTOCOL)

    def on_body(self, data: bytes) -> None:
        """Keep the body only when an answer is checked."""
        if self.driver.checking:
            self.body.append(data)

    def on_message_complete(self) -> None:
        """Hand the finished answer to the driver."""
        parser = self.parser
        self.driver.finished(self, parser.get_status_code(), parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver; an answer that was awaited is lost with it."""
        self.driver.broken(self, record.RESET)

    def send(self, data: bytes) -> None:
        """Write now: a transport would wait for the end of the loop's iteration."""
        if self.fd >= 0:
            try:
                done = os.write(self.fd, data)
            except (BlockingIOError, InterruptedError):
                done = 0
            except OSError:
                self.driver.broken(self, record.RESET)
                return
            if done == len(data):
                return
            data = data[done:]
        assert self.transport is not None
        self.transport.write(data)


class Driver:
    """Sends one job and fills its record file."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._job = job
        self._loop = loop
        self._cells = cells = record.Cells(Path(job.path), job.size)
        self.first = cells.first
        self._scheduled, self._picked, self._sent = cells.scheduled, cells.picked, cells.sent
        self._last, self._outcome, self._status = cells.last, cells.outcome, cells.status
        self._choice = cells.choice
        self._bytes = [template.data for template in job.templates]
        self._checks: list[Check | None] = [build_check(template) for template in job.templates]
        self.checking = any(self._checks)
        self._expected = frozenset(job.statuses)
        self._idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}
        self._waiting: deque[int] = deque()
        self._opening = self._open = 0
        self._next = 0
        self._stop_at = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = loop.create_future()
        self._timer = Timer(loop, self._on_due)
        self._abandon = job.sender.abandon
        self._random = random.Random(job.seed).random
        self._tls = ssl.create_default_context() if any(t.tls for t in job.targets) else None
        self._turn = 0
        self.most_inflight = 0

    async def connect(self) -> None:
        """Open the first connections, so that the schedule does not pay for them.

        Raises:
            OSError: a connection was refused.
        """
        wanted = self._job.closed or min(
            self._job.sender.connections, self._job.limits.max_inflight
        )
        if self._job.sender.keep_alive:
            for _ in range(wanted):
                await self._open_one()

    async def run(self, start_ns: int) -> None:
        """Send everything, then wait for the answers until the timeout of the last request."""
        job = self._job
        self._stop_at = start_ns + int(job.run_s * 1e9)
        sweep = self._loop.create_task(self._sweep(), name="sweep")
        if job.closed:
            self._loop.call_at(
                self._loop.time() + max(start_ns - monotonic_ns(), 0) / 1e9, self._begin_closed
            )
        else:
            for i in range(job.size):
                self._scheduled[i] += start_ns
            self._arm()
        await self._done
        sweep.cancel()
        self._timer.close()

    def stop(self) -> None:
        """Send nothing more and do not wait for answers."""
        self._next = self._job.size
        self._waiting.clear()
        if not self._done.done():
            self._done.set_result(None)

    # sending

    def _arm(self) -> None:
        if self._next < self._job.size:
            self._timer.arm(self._scheduled[self._next])
        else:
            self._timer.disarm()
            self._finish_if_quiet()

    def _on_due(self) -> None:
        scheduled, size, i = self._scheduled, self._job.size, self._next
        idle, launch = self._idle, self._launch
        now = monotonic_ns()
        sent = 0
        while i < size and scheduled[i] <= now:
            self._next = i + 1
            self._picked[i] = now
            if idle:
                launch(idle.pop(), i)
            else:
                self._queue(i)
            i += 1
            sent += 1
            if sent == _BURST:
                break  # let answers be stamped; the timer is already due again
            now = monotonic_ns()
        self._arm()

    def _launch(self, connection: Connection, slot: int) -> None:
        connection.slot = slot
        self._busy[connection] = slot
        self._sent[slot] = monotonic_ns()
        connection.send(self._bytes[self._choice[slot]])
        if self._abandon and self._random() < self._abandon:
            self._loop.call_later(
                self._job.sender.abandon_after_s, self._walk_away, connection, slot
            )

    def _walk_away(self, connection: Connection, slot: int) -> None:
        if connection.slot == slot:
            self.broken(connection, record.ABANDONED)

    def _queue(self, slot: int) -> None:
        self._waiting.append(slot)
        job = self._job
        total = self._open + self._opening
        if (
            not job.closed
            and total < job.limits.max_inflight
            and self._opening < len(self._waiting)
        ):
            self._spawn_connection()

    def _begin_closed(self) -> None:
        for connection in [self._idle.pop() for _ in range(len(self._idle))]:
            self._next_closed(connection)
        if not self._job.sender.keep_alive:
            for _ in range(self._job.closed):
                self._spawn_connection()

    def _next_closed(self, connection: Connection) -> None:
        now = monotonic_ns()
        slot = self._next
        if now >= self._stop_at or slot >= self._job.size:
            self._idle.append(connection)
            self._next = self._job.size
            self._finish_if_quiet()
            return
        self._next = slot + 1
        self._scheduled[slot] = self._picked[slot] = now
        self._launch(connection, slot)

    # connections

    async def _open_one(self) -> None:
        self._turn += 1
        target = self._job.targets[self._turn % len(self._job.targets)]
        self._opening += 1
        try:
            await self._loop.create_connection(
                lambda: Connection(self, target),
                target.host,
                target.port,
                ssl=self._tls if target.tls else None,
            )
        finally:
            self._opening -= 1

    def _spawn_connection(self) -> None:
        task = self._loop.create_task(self._open_for_waiting(), name="connect")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_for_waiting(self) -> None:
        try:
            async with asyncio.timeout(self._job.limits.timeout_s):
                await self._open_one()
        except (OSError, TimeoutError):
            if self._waiting:
                self._fail(self._waiting.popleft(), record.CONNECT)
            elif self._job.closed:
                self._loop.call_later(0.1, self._spawn_connection)
            self._finish_if_quiet()

    def opened(self, connection: Connection) -> None:
        """A new connection takes the request that waits longest."""
        self._open += 1
        self.most_inflight = max(self.most_inflight, self._open)
        self._release(connection)

    def _release(self, connection: Connection) -> None:
        if self._job.closed and self._stop_at:
            self._next_closed(connection)
        elif self._waiting:
            self._launch(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def broken(self, connection: Connection, outcome: int) -> None:
        """A connection ended; its request, if any, ends with this outcome."""
        if connection.target is None or connection.fd == -2:
            return
        connection.fd = -2
        self._open -= 1
        slot = connection.slot
        self._busy.pop(connection, None)
        if connection.transport is not None:
            connection.transport.abort()
        if slot >= 0:
            connection.slot = -1
            self._fail(slot, outcome)
        elif connection in self._idle:
            self._idle.remove(connection)
        if self._waiting or (self._job.closed and monotonic_ns() < self._stop_at):
            self._spawn_connection()
        self._finish_if_quiet()

    # answers

    def finished(self, connection: Connection, status: int, keep: bool) -> None:
        """A complete answer: record it and send what waits."""
        slot = connection.slot
        if slot < 0:
            self.broken(connection, record.PROTOCOL)
            return
        self._last[slot] = connection.now
        self._status[slot] = status
        outcome = record.classify(status, self._expected)
        if self.checking:
            check = self._checks[self._choice[slot]]
            if check and outcome == record.GOOD and not check(b"".join(connection.body)):
                outcome = record.CHECK
            connection.body.clear()
        self._outcome[slot] = outcome
        connection.slot = -1
        del self._busy[connection]
        if keep and self._job.sender.keep_alive:
            self._release(connection)
            if self._next >= self._job.size:
                self._finish_if_quiet()
        else:
            self.broken(connection, record.GOOD)

    def _fail(self, slot: int, outcome: int) -> None:
        self._last[slot] = monotonic_ns()
        self._outcome[slot] = outcome

    async def _sweep(self) -> None:
        """End what waits too long. Time in the generator's own line counts too."""
        limit = int(self._job.limits.timeout_s * 1e9)
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = monotonic_ns()
            if self._job.closed and now >= self._stop_at:
                self._next = self._job.size  # also when no connection is left to notice the end
            late = [c for c, slot in self._busy.items() if now - self._picked[slot] > limit]
            for connection in late:
                self.broken(connection, record.TIMEOUT)
            while self._waiting and now - self._picked[self._waiting[0]] > limit:
                self._fail(self._waiting.popleft(), record.TIMEOUT)
            self._finish_if_quiet()

    def _finish_if_quiet(self) -> None:
        quiet = self._next >= self._job.size and not self._busy and not self._waiting
        if quiet and not self._done.done():
            self._done.set_result(None)
