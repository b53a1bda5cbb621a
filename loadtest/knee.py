"""The knee: the highest rate at which an endpoint still keeps its objectives.

Bracket by doubling from a safe rate until a probe fails, bisect geometrically until the bracket is
narrow, confirm the answer with a longer run, and ask that ten percent more fails: where it does not
the curve is not monotone there and a range is told. A probe holds its rate when every threshold is
certified, at least 99% of what was offered was good, and nothing piles up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from loadtest.environment import Environment
from loadtest.resources import Binding
from loadtest.schedule import constant
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.plan import Plan
    from loadtest.summary import Summary

GOODPUT = 0.99
_DOUBLINGS = 24
_BEYOND = 1.10


class Probe(Struct, frozen=True):
    """One rate that was tried; latencies in microseconds.

    Attributes:
        phase: why it was tried.
        holds: the rate keeps the objectives.
        why: the first thing that broke, when it does not.
        sound: the generator was able to measure it; a probe that was not proves nothing.
        binding: the resource that was full, or the busiest.
        lag_s: how far the evidence lagged behind in the end; None when the router does not tell.
        behind_per_s: records that did not reach the database in time, 0 when it kept up.
        cpu_us: processor time of the server per request.
    """

    rate: float
    phase: Literal["bracket", "bisect", "confirm", "beyond"]
    holds: bool
    why: str
    sound: bool
    seconds: float
    good_rate: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    p99_bound_us: float | None
    binding: Binding | None = None
    lag_s: float | None = None
    behind_per_s: float = 0.0
    cpu_us: float | None = None


class Knee(Struct, frozen=True):
    """The answer with everything that was tried.

    Attributes:
        rate: highest rate that was confirmed, or 0 when even the first failed.
        low, high: highest rate that held and lowest that failed; the truth lies between.
        confirmed: the long run held and ten percent (or the width) more failed.
        monotone: no rate held above one that failed.
        note: what a reader should know, in a sentence; empty when all is well.
        probes: in the order in which they were made; the curve.
        thresholds: the objectives.
        binding: the resource that gave out at the lowest rate that failed.
        kept_up: highest rate that held and whose evidence reached the database; None when the
            router does not tell.
    """

    rate: float
    low: float
    high: float
    confirmed: bool
    monotone: bool
    note: str
    probes: tuple[Probe, ...]
    thresholds: tuple[str, ...]
    local: tuple[int, ...] = ()
    binding: Binding | None = None
    kept_up: float | None = None
    environment: Environment | None = None
    format: Literal["interlock/knee/v1"] = "interlock/knee/v1"


Measure = Callable[[float, str], Probe]
"""Probes a rate for a phase."""


def find_knee(
    measure: Measure,
    start: float,
    *,
    width: float = 0.03,
    most: float = 1e6,
    thresholds: tuple[str, ...] = (),
) -> Knee:
    """Search for the knee.

    Args:
        measure: probes one rate.
        start: a rate that should be safe.
        width: relative width of the bracket at which to stop.
        most: never try more than this.
        thresholds: told in the result.
    """
    probes: list[Probe] = []

    def holds(rate: float, phase: Literal["bracket", "bisect", "confirm", "beyond"]) -> bool:
        probe = measure(rate, phase)
        if not probe.sound:
            probe = measure(rate, phase)  # once more: a hiccup of the generator proves nothing
        probes.append(probe)
        return probe.holds

    low, high = _bracket(holds, start, most)
    while low > 0 and math.isfinite(high) and high / low > 1 + width:
        middle = math.sqrt(low * high)
        if holds(middle, "bisect"):
            low = middle
        else:
            high = middle
    confirmed, note = False, ""
    if low == 0:
        note = "even the lowest rate failed: " + probes[-1].why
    elif not math.isfinite(high):
        note = f"no rate up to {most:,.0f}/s failed; the knee lies beyond"
    else:
        low, high, confirmed, note = _confirm(holds, low, high, width)
    held = [probe.rate for probe in probes if probe.holds]
    failed = [probe.rate for probe in probes if not probe.holds and probe.sound]
    monotone = not held or not failed or max(held) < min(failed)
    told = [probe for probe in probes if probe.holds and probe.lag_s is not None]
    kept_up = max((p.rate for p in told if not p.behind_per_s), default=0.0) if told else None
    if not all(probe.sound for probe in probes):
        note = "; ".join(filter(None, (note, "the generator was the limit in some probes")))
    return Knee(
        rate=low, low=low, high=high if math.isfinite(high) else most, confirmed=confirmed,
        monotone=monotone, note=note, probes=tuple(probes), thresholds=thresholds,
        binding=binding_of(probes), kept_up=kept_up,
    )  # fmt: skip


def binding_of(probes: Sequence[Probe]) -> Binding | None:
    """What gave out: at the lowest rate that failed, rather in a probe that was sound."""
    failed = [probe for probe in probes if not probe.holds]
    if not failed:
        return Binding("none", "nothing gave out")
    probe = min(failed, key=lambda probe: (not probe.sound, probe.rate))
    found = probe.binding
    if found is None or found.resource != "none":
        return found
    return msgspec.structs.replace(found, words=f"{found.words}; {probe.why}")


def _bracket(holds: Callable[..., bool], start: float, most: float) -> tuple[float, float]:
    """(highest rate that held or 0, lowest that failed or infinity)."""
    rate, low, high = start, 0.0, math.inf
    for _ in range(_DOUBLINGS):
        if holds(rate, "bracket"):
            low = rate
            if rate >= most:
                break
            rate = min(rate * 2, most)
            if math.isfinite(high):
                break
        else:
            high = rate
            if low > 0:
                break
            rate /= 2
    if low > 0 and math.isfinite(high) and low > high:
        low, high = high, low
    return low, high


def _confirm(
    holds: Callable[..., bool], low: float, high: float, width: float
) -> tuple[float, float, bool, str]:
    """Lower the answer until its long run holds, then ask that more fails."""
    for _ in range(4):
        if holds(low, "confirm"):
            break
        high, low = low, low / (1 + 2 * width)
    else:
        return low, high, False, "no rate near the bracket held in the long run"
    more = max(_BEYOND, 1 + width)  # within the bracket's width the answer is not known anyway
    if holds(low * more, "beyond"):
        return low, max(high, low * more), False, (
            f"{more - 1:.0%} more held as well: the knee lies between {low:,.0f} and "
            f"{low * more:,.0f} or above"
        )  # fmt: skip
    return low, min(high, low * more), True, ""


def judge_probe(
    summary: Summary, rate: float, phase: Literal["bracket", "bisect", "confirm", "beyond"]
) -> Probe:
    """Whether a run at one rate held it."""
    f, server = summary.figures, summary.server
    audit = server.audit if server else None
    by = {p.percentile: p for p in f.percentiles}
    why = next((f"{j.text}: {j.why}" for j in summary.thresholds if j.verdict != "pass"), "")
    backlog = next((r.text for r in summary.reasons if r.rule == "backlog"), "")
    if not why and f.goodput_share < GOODPUT:
        why = f"only {f.goodput_share:.1%} of the answers were good"
    if not why and backlog:
        why = backlog
    unsound = [r.text for r in summary.reasons if r.side == "generator" and r.rule != "samples"]
    # a generator that was late cannot make a server look better: a rate that held, held
    sound = not unsound or not why
    return Probe(
        rate=rate, phase=phase, holds=not why, why=why or "; ".join(unsound), sound=sound,
        seconds=f.seconds, good_rate=f.good_rate, p50_us=by[0.5].corrected,
        p99_us=by[0.99].corrected, p999_us=by[0.999].corrected, p99_bound_us=by[0.99].bound,
        binding=summary.binding, lag_s=audit.lag_s[-1] if audit and audit.lag_s else None,
        behind_per_s=audit.behind_per_s if audit else 0.0, cpu_us=server.cpu_us if server else None,
    )  # fmt: skip


def probe_plan(plan: Plan, rate: float, *, seconds: float) -> Plan:
    """The plan of one probe: long enough for every threshold's sample floor, with a margin."""
    from loadtest.certify import samples_needed

    wanted = [parse_threshold(text) for text in plan.thresholds]
    floor = max((samples_needed(t.percentile) for t in wanted if t.metric == "p"), default=0)
    span = max(seconds, 1.5 * floor / rate)
    load = msgspec.structs.replace(plan.load, knots=constant(rate, span), profile="knee probe")
    return msgspec.structs.replace(plan, load=load)
