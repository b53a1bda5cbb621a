"""Is the run valid? Asked apart from pass or fail, because a bad measurement proves neither.

Reasons on the side of the generator mean that the figures are not the server's. Reasons on the
side of the server mean that there is no steady state whose percentiles could be told: a threshold
that fails then still fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from loadtest.plan import Load
    from loadtest.processes import Raw
    from loadtest.statistics import Figures, Window

_SETTLE_WINDOWS = 3
_SETTLE_SHARE = 0.10
_SETTLE_NOISE_US = 100.0
_CLOCK_STEP_NS = 5_000_000


class Reason(Struct, frozen=True):
    """One rule that was broken."""

    rule: str
    side: Literal["generator", "server"]
    text: str


def validate(
    raw: Raw, load: Load, figures: Figures, slices: tuple[Window, ...], ceiling: float | None
) -> tuple[Reason, ...]:
    """Every validity rule that the run breaks; empty means valid.

    Args:
        raw: the run.
        load: what was asked.
        figures: of the measured part.
        slices: of the measured part.
        ceiling: calibrated requests per second of this generator, or None when not calibrated.
    """
    found: list[Reason] = []

    def add(rule: str, side: Literal["generator", "server"], text: str) -> None:
        found.append(Reason(rule, side, text))

    failed = [report.error for report in raw.reports if report.error]
    if failed:
        add("process", "generator", failed[0])
    p50 = figures.percentiles[0].corrected or 0.0
    lag_limit = max(200.0, 0.05 * p50)
    if not load.closed and figures.lag_p99_us > lag_limit:
        add("lag", "generator",
            f"send lag p99 {figures.lag_p99_us:.0f} us, allowed {lag_limit:.0f} us")  # fmt: skip
    busiest = max((r.cpu_s / r.wall_s for r in raw.reports if r.wall_s > 0), default=0.0)
    if busiest > 0.8 and not load.closed:
        add("cpu", "generator", f"a generator process used {busiest:.0%} of a core, allowed 80%")
    if not load.closed and figures.sent_share < 0.999:
        add("sent", "generator",
            f"{figures.sent_share:.2%} of the schedule was sent, needed 99.9%")  # fmt: skip
    if abs(raw.wall_step_ns) > _CLOCK_STEP_NS:
        add("clock", "generator", f"the wall clock stepped by {raw.wall_step_ns / 1e6:.1f} ms")
    for clock in raw.clocks:
        if clock.drift_us + clock.doubt_us > lag_limit:
            add("clock", "generator",
                f"the clock of agent {clock.agent} drifted by {clock.drift_us:.0f} us and is known "
                f"to {clock.doubt_us:.0f} us, allowed {lag_limit:.0f} us")  # fmt: skip
    if ceiling and not load.closed and figures.offered_rate > 0.5 * ceiling:
        add("ceiling", "generator",
            f"{figures.offered_rate:.0f}/s is over half of this generator's "
            f"calibrated {ceiling:.0f}/s")  # fmt: skip
    if load.steady and not raw.interrupted:
        spread = _unsettled(slices)
        if spread:
            add("warm-up", "server", spread)
    if not load.closed and load.steady:
        growth = backlog_growth(slices)
        if growth:
            add("backlog", "server", growth)
    return tuple(found)


def _unsettled(slices: tuple[Window, ...]) -> str:
    """Compare the first three tenths of the measured time; a sentence when they still move."""
    tenth = max(len(slices) // 10, 1)
    medians = []
    for k in range(_SETTLE_WINDOWS):
        values = [w.p50_us for w in slices[k * tenth : (k + 1) * tenth] if w.p50_us is not None]
        if not values:
            return ""
        medians.append(float(np.median(values)))
    low, high = min(medians), max(medians)
    if high - low > max(_SETTLE_SHARE * high, _SETTLE_NOISE_US):
        return (
            f"p50 still moved from {medians[0]:.0f} to {medians[-1]:.0f} us after the warm-up; "
            "make it longer"
        )
    return ""


def backlog_growth(slices: tuple[Window, ...]) -> str:
    """Over-saturation: a t-test on the slope of requests in flight over the last half.

    The residuals of a queue are correlated, so besides t the growth itself must matter: more than
    ten requests and more than a twentieth of a second of load.
    """
    half = slices[len(slices) // 2 :]
    if len(half) < 6:
        return ""
    y = np.array([w.inflight for w in half], dtype=np.float64)
    x = np.array([w.start_s for w in half], dtype=np.float64)
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    residual = y - y.mean() - slope * centred
    error = float(np.sqrt((residual**2).sum() / (len(x) - 2) / (centred**2).sum()))
    growth = slope * (x[-1] - x[0])
    offered = float(np.mean([w.offered for w in half]))
    if slope > 3.5 * error and growth > max(10.0, offered / 20):
        return (
            f"requests in flight grew by {slope:.0f} per second to {int(y[-1])}: "
            "more is offered than the target completes"
        )
    return ""
