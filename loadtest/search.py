"""The knee of a real target: probes are runs, with a pause between them until it is calm again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from loadtest.environment import listeners, read_environment, shared_cores
from loadtest.knee import Knee, Probe, find_knee, judge_probe, probe_plan
from loadtest.plan import check_plan
from loadtest.preflight import exchange, preflight
from loadtest.proc import cpu_seconds, tree
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
    services: dict[str, int] | None = None,
) -> Knee:
    """Find the knee of the plan's targets.

    Args:
        plan: targets, requests and thresholds; its load gives probe time, warm-up and seed.
        start: a safe rate.
        most: never try more.
        confirm_s: measured seconds of the confirming run.
        width: relative width of the bracket.
        tell: called after every probe.
        services: names and process ids of the stack on this machine, when there is one.

    Raises:
        LoadTestError: the plan or target cannot be used; no load was sent.
    """
    for text in plan.thresholds:
        parse_threshold(text)
    check_plan(plan)
    plan = preflight(plan)
    calm_us = _round_trip(plan)
    usage = Usage(plan, services or {})

    def measure(rate: float, phase: Any) -> Probe:
        seconds = confirm_s if phase in {"confirm", "beyond"} else plan.load.measured_s
        shot = probe_plan(plan, rate, seconds=seconds)
        check_plan(shot)
        _cool_down(plan, calm_us)
        usage.begin()
        raw = execute(shot)
        summary = summarise(shot, raw)
        usage.end(rate, summary.generator_cpu)
        if raw.interrupted:
            raise KeyboardInterrupt
        probe = judge_probe(summary, rate, phase)
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

    Reads the processor time of the services that the stack's home names, else of the processes
    that listen on the targets' ports, and what the generator itself used.
    """

    def __init__(self, plan: Plan, services: dict[str, int]) -> None:
        listening = {pid for t in plan.targets if t.loopback for pid in listeners(t.port)}
        self._groups: dict[str, set[int]] = {name: set(tree(pid)) for name, pid in services.items()}
        if not any(listening & pids for pids in self._groups.values()):
            self._groups = {"router": listening} if listening else {}
        self._shares: dict[float, dict[str, float]] = {}
        self._begin: dict[int, float] = {}
        self._at = 0.0

    def begin(self) -> None:
        """Note the clocks before a run."""
        self._begin, self._at = self._cpu(), time.monotonic()

    def end(self, rate: float, generator: float) -> None:
        """Note each group's busiest process over a run, as a share of a core."""
        spent = time.monotonic() - self._at
        after = self._cpu()
        self._shares[rate] = {"generator": generator} | {
            name: max(
                ((after[pid] - self._begin.get(pid, 0.0)) / spent for pid in pids), default=0.0
            )
            for name, pids in self._groups.items()
        }

    def binding(self, found: Knee) -> str:
        """What gave out at the lowest rate that failed, in words."""
        failed = [probe for probe in found.probes if not probe.holds]
        if not failed:
            return "nothing gave out"
        probe = min(failed, key=lambda probe: probe.rate)
        shares = self._shares.get(probe.rate, {})
        name = max(shares, key=lambda name: shares[name], default="")
        if name and shares[name] >= _BINDING_SHARE:
            return f"CPU of {name} ({shares[name]:.0%} of a core in its busiest process)"
        if not probe.sound:
            return "generator: it could not keep its schedule, so the server was not the limit"
        if not self._groups:
            return "unknown: the server runs on another machine"
        busiest = f"the busiest was {name} with {shares[name]:.0%} of a core" if name else ""
        return f"no CPU ({busiest}): {probe.why}"

    def _cpu(self) -> dict[int, float]:
        return {pid: cpu_seconds(pid) for pids in self._groups.values() for pid in pids}
