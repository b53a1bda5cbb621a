"""What one scoring call costs here, measured at load on rows of the package itself."""

from __future__ import annotations

import time
from collections.abc import Callable

WARM_CALLS = 20
ROUNDS = 9
CALLS = 20
INLINE_LIMIT_US = 300.0


def measure_us(call: Callable[[], object]) -> float:
    """A cautious cost of one call in microseconds: the slowest round but one.

    A round is twenty calls; the worst round is dropped, since on a shared machine it measures
    somebody else. At 5 us a call the whole measurement takes about a millisecond.
    """
    for _ in range(WARM_CALLS):
        call()
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter_ns() - start) / CALLS)
    return sorted(rounds)[-2] / 1000.0


def runs_inline(cost_us: float, limit_us: float = INLINE_LIMIT_US) -> bool:
    """Whether a model is cheap enough to be called in the event loop."""
    return cost_us <= limit_us
