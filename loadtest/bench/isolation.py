"""Whether something else moves the latency of online requests: one load, disturbed in turns.

An open loop runs without a pause while the disturbance is switched on and off in the order off, on,
on, off, so that whatever drifts meanwhile drifts for both. Requests are attributed by when they
were due, and those due while the disturbance starts or ends count for neither side.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from loadtest.bench.measure import Requests, make_plan, saturate
from loadtest.errors import TargetError
from loadtest.plan import Limits, Load
from loadtest.proc import cpu_seconds, tree, waited_ns
from loadtest.processes import execute
from loadtest.record import GOOD, PENDING, Records
from loadtest.schedule import constant
from loadtest.summary import corrected_us

if TYPE_CHECKING:
    from loadtest.bench.node import Server

SHARE = 0.7
"""Of the measured capacity: the load under which nothing else may be felt."""
SETTLE_S = 0.25
"""After each switch; what was queued before it is gone by then."""
SWITCH_S = 25.0
"""Longest that one start and one end of a disturbance may take together."""

Span = tuple[bool, int, int, int]
"""Disturbed or not, first and last monotonic nanosecond, nanoseconds that the worker waited."""
Disturb = Callable[[], AbstractContextManager[object]]
"""Entered, the disturbance is under way; left, it is over and nothing of it remains."""


class Window(Struct, frozen=True):
    """Online requests of one stretch of time; latencies are corrected, in microseconds.

    A window without any answer has infinite ones: the load was more than could be done.

    Attributes:
        waited_us: how long the worker was ready and had no core, per request.
    """

    disturbed: bool
    seconds: float
    requests: int
    errors: int
    p50_us: float
    p99_us: float
    waited_us: float


class Isolation(Struct, frozen=True):
    """What a disturbance did to online requests; every latency is a median over the windows.

    Attributes:
        rate: requests per second that were asked for.
        windows: in the order in which they were measured.
    """

    rate: float
    windows: tuple[Window, ...]

    def _each(self, name: str, *, disturbed: bool) -> list[float]:
        return [getattr(each, name) for each in self.windows if each.disturbed is disturbed]

    def _medians(self, name: str) -> tuple[float, float]:
        quiet, disturbed = (median(self._each(name, disturbed=on)) for on in (False, True))
        return quiet, disturbed

    @property
    def p50_us(self) -> tuple[float, float]:
        """Undisturbed and disturbed."""
        return self._medians("p50_us")

    @property
    def p99_us(self) -> tuple[float, float]:
        """Undisturbed and disturbed."""
        return self._medians("p99_us")

    @property
    def waited_us(self) -> tuple[float, float]:
        """Undisturbed and disturbed; unlike latency nearly free of what else a machine does."""
        return self._medians("waited_us")

    @property
    def rates(self) -> tuple[float, float]:
        """Good answers per second, undisturbed and disturbed."""

        def rate(disturbed: bool) -> float:
            mine = [each for each in self.windows if each.disturbed is disturbed]
            good = sum(each.requests - each.errors for each in mine)
            return good / sum(each.seconds for each in mine)

        return rate(disturbed=False), rate(disturbed=True)

    @property
    def errors(self) -> tuple[int, int]:
        """Requests without a good answer, undisturbed and disturbed."""
        found = [sum(self._each("errors", disturbed=on)) for on in (False, True)]
        return int(found[0]), int(found[1])

    @property
    def ratio(self) -> float:
        """Disturbed p99 over undisturbed p99."""
        quiet, disturbed = self.p99_us
        return disturbed / quiet

    @property
    def spread(self) -> float:
        """Largest over smallest undisturbed p99: how far the ratio of equal things would go."""
        quiet = self._each("p99_us", disturbed=False)
        return max(quiet) / min(quiet)


def capacity(
    server: Server, requests: Requests, *, cpu: int, connections: int = 32, seconds: float = 2.0,
    runs: int = 3,
) -> float:  # fmt: skip
    """Requests per second that the server answers at most: the median of some closed loops."""
    return median(
        saturate(
            server, requests, client="own", seconds=seconds, cpu=cpu, connections=connections
        ).requests_per_s
        for _ in range(runs)
    )


def isolation(
    server: Server, requests: Requests, disturb: Disturb, *, rate: float, cpu: int,
    connections: int = 32, rounds: int = 4, window_s: float = 2.0,
) -> Isolation:  # fmt: skip
    """Latency of online requests with and without a disturbance, in turns.

    Args:
        server: running; its caches are warm.
        requests: the online load.
        disturb: switches the disturbance on and off, once per disturbed window.
        rate: requests per second, such as ``SHARE * capacity(...)``.
        cpu: core of the generator.
        connections: of the generator.
        rounds: undisturbed windows; there are as many disturbed ones.
        window_s: seconds of each.

    Raises:
        TargetError: the load ended before the last window did.
    """
    turns = [turn % 4 in (1, 2) for turn in range(2 * rounds)]
    most_s = len(turns) * (window_s + SETTLE_S) + rounds * SWITCH_S
    load = Load(constant(rate, most_s), warmup_s=0.5)
    limits = Limits(max_requests=math.ceil(rate * most_s * 2))
    plan = make_plan(server, requests, load, cpu, connections, limits=limits)
    begun, over = threading.Event(), threading.Event()
    spans: Future[list[Span]] = Future()
    worker = max(tree(server.pid), key=cpu_seconds)

    def switch() -> None:
        try:
            begun.wait()
            spans.set_result(_switch(disturb, turns, window_s, over, worker))
        except BaseException as error:
            spans.set_exception(error)
        finally:
            over.set()

    def watch(_: list[Records], start_ns: int) -> bool:
        if time.monotonic_ns() >= start_ns + int(load.warmup_s * 1e9):
            begun.set()
        return over.is_set()

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        raw = execute(plan, watch)
    finally:
        over.set()
        begun.set()
        thread.join()
    windows = tuple(_window(raw.records, *span) for span in spans.result())
    if len(windows) < len(turns):
        raise TargetError(f"the load ended in window {len(windows) + 1} of {len(turns)}")
    return Isolation(rate, windows)


def _switch(
    disturb: Disturb, turns: list[bool], window_s: float, over: threading.Event, worker: int
) -> list[Span]:
    """Every window that was whole."""
    spans: list[Span] = []

    def sit() -> None:
        if over.wait(SETTLE_S):
            return
        begin, before = time.monotonic_ns(), waited_ns(worker)
        if not over.wait(window_s):
            spans.append((disturbed, begin, time.monotonic_ns(), waited_ns(worker) - before))

    for disturbed in turns:
        if over.is_set():
            break
        if disturbed:
            with disturb():
                sit()
        else:
            sit()
    over.wait(SETTLE_S)  # the last requests of the last window are answered
    return spans


def _window(
    records: Records, disturbed: bool, begin_ns: int, end_ns: int, waiting_ns: int
) -> Window:
    due = records.scheduled
    mine = records.take((due >= begin_ns) & (due < end_ns))
    asked = mine.take(mine.outcome != PENDING)
    took = corrected_us(asked)
    p50, p99 = np.percentile(took, (50, 99)) if len(took) else (math.inf, math.inf)
    errors = len(mine) - int(np.count_nonzero(mine.outcome == GOOD))
    seconds, waited_us = (end_ns - begin_ns) / 1e9, waiting_ns / 1e3 / max(len(mine), 1)
    return Window(disturbed, seconds, len(mine), errors, float(p50), float(p99), waited_us)
