"""The knee of a real target: probes are runs, with a pause between them until it is calm again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from loadtest.environment import read_environment, shared_cores
from loadtest.knee import Knee, Probe, find_knee, judge_probe, probe_plan
from loadtest.plan import check_plan
from loadtest.preflight import exchange, preflight
from loadtest.processes import execute
from loadtest.summary import summarise
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.plan import Plan

_CALM_TRIES = 100
_BINDING_SHARE = 0.85


def search(
    plan: Plan,
    *,
    start: float,
    most: float,
    confirm_s: float,
    width: float,
    tell: Callable[[Probe], None],
) -> Knee:
    """Find the knee of the plan's targets.

    Args:
        plan: targets, requests and thresholds; its load gives probe time, warm-up and seed.
        start: a safe rate.
        most: never try more.
        confirm_s: measured seconds of the confirming run.
        width: relative width of the bracket.
        tell: called after every probe.

    Raises:
        LoadTestError: the plan or target cannot be used; no load was sent.
    """
    for text in plan.thresholds:
        parse_threshold(text)
    check_plan(plan)
    plan = preflight(plan)
    calm_us = _round_trip(plan)
    usage = Usage(plan)

    def measure(rate: float, phase: Any) -> Probe:
        seconds = confirm_s if phase in {"confirm", "beyond"} else plan.load.measured_s
        shot = probe_plan(plan, rate, seconds=seconds)
        check_plan(shot)
        _cool_down(plan, calm_us)
        usage.begin()
        raw = execute(shot)
        usage.end(rate)
        if raw.interrupted:
            raise KeyboardInterrupt
        probe = judge_probe(summarise(shot, raw), rate, phase)
        tell(probe)
        return probe

    found = find_knee(measure, start, width=width, most=most, thresholds=plan.thresholds)
    local = sorted({c for t in plan.targets for c in shared_cores(t, plan.sender.cpus)})
    return msgspec.structs.replace(
        found,
        local=tuple(local),
        binding=usage.binding(found),
        environment=read_environment(plan),
    )


def _round_trip(plan: Plan) -> float:
    """Median of a few single requests, microseconds: what calm looks like."""
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        exchange(plan.targets[0], plan.templates[0].data)
        times.append((time.perf_counter() - begin) * 1e6)
    return sorted(times)[len(times) // 2]


def _cool_down(plan: Plan, calm_us: float) -> None:
    """Wait until single requests take about what they took before the search."""
    for _ in range(_CALM_TRIES):
        if _round_trip(plan) < 2 * calm_us + 500:
            return
        time.sleep(0.1)


class Usage:
    """Which resource was busiest at each rate, for targets on this machine.

    Reads the processor time of the processes that listen on the targets' ports (and of their
    children), and of the generator.
    """

    def __init__(self, plan: Plan) -> None:
        from loadtest.environment import listeners

        self._pids = {pid for t in plan.targets if t.loopback for pid in listeners(t.port)}
        self._shares: dict[float, float] = {}
        self._begin: dict[int, float] = {}
        self._at = 0.0

    def begin(self) -> None:
        """Note the clocks before a run."""
        self._begin, self._at = self._cpu(), time.monotonic()

    def end(self, rate: float) -> None:
        """Note the busiest server process of a run, as a share of a core."""
        spent = time.monotonic() - self._at
        after = self._cpu()
        shares = [(after[pid] - self._begin.get(pid, 0.0)) / spent for pid in after]
        self._shares[rate] = max(shares, default=0.0)

    def binding(self, found: Knee) -> str:
        """What gave out at the lowest rate that failed, in words."""
        failed = [p for p in found.probes if not p.holds]
        if not failed:
            return "nothing gave out"
        probe = min(failed, key=lambda p: p.rate)
        if not probe.sound:
            return "generator"
        share = self._shares.get(probe.rate, 0.0)
        if not self._pids:
            return "unknown: the server runs on another machine"
        if share >= _BINDING_SHARE:
            return f"router CPU ({share:.0%} of a core in its busiest process)"
        return (
            f"not CPU of the server (its busiest process used {share:.0%} of a core): {probe.why}"
        )

    def _cpu(self) -> dict[int, float]:
        from loadtest.proc import cpu_seconds

        return {pid: cpu_seconds(pid) for pid in self._pids}
