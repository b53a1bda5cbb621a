"""What one scoring call costs here, measured at load on rows of the package itself."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 9
CALLS = 20
ROUND_US = 2000.0


def measure_us(call: Callable[[], object], *, calls: int = CALLS) -> float:
    """A cautious cost of one call in microseconds: the slowest round but one.

    A round is twenty calls; the worst round is dropped, since on a shared machine it measures
    somebody else. At 5 us a call the whole measurement takes about a millisecond. Calls that take
    longer than ``ROUND_US / calls`` are made fewer times, so that a slow model loads fast.
    """
    call()
    start = time.perf_counter_ns()
    call()
    once_us = max((time.perf_counter_ns() - start) / 1000.0, 0.1)
    calls = max(1, min(calls, int(ROUND_US / once_us)))
    for _ in range(calls - 1):
        call()
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter_ns() - start) / calls)
    return sorted(rounds)[-2] / 1000.0
