"""The knee of a real target: probes are runs, with a pause between them until it is calm again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from loadtest.agents import execute_on_agents
from loadtest.environment import read_environment, shared_cores
from loadtest.knee import Knee, Probe, find_knee, judge_probe, probe_plan
from loadtest.plan import check_plan
from loadtest.preflight import exchange, preflight
from loadtest.processes import execute
from loadtest.run import measure_with
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.plan import Plan

_CALM_TRIES = 100


def search(
    plan: Plan,
    *,
    start: float,
    most: float,
    confirm_s: float,
    width: float,
    tell: Callable[[Probe], None],
    services: dict[str, int] | None = None,
    agents: tuple[tuple[str, int], ...] = (),
    token: bytes = b"",
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
        agents: machines that send instead of this one.
        token: secret shared with the agents.

    Raises:
        LoadTestError: the plan or target cannot be used; no load was sent.
    """
    for text in plan.thresholds:
        parse_threshold(text)
    check_plan(plan)
    plan = preflight(plan)
    calm_us = _round_trip(plan)

    def measure(rate: float, phase: Any) -> Probe:
        seconds = confirm_s if phase in {"confirm", "beyond"} else plan.load.measured_s
        shot = probe_plan(plan, rate, seconds=seconds)
        check_plan(shot)
        _cool_down(plan, calm_us)
        outcome = measure_with(
            shot,
            lambda: execute_on_agents(shot, agents, token) if agents else execute(shot),
            services=services,
        )
        if outcome.raw.interrupted:
            raise KeyboardInterrupt
        probe = judge_probe(outcome.summary, rate, phase)
        tell(probe)
        return probe

    found = find_knee(measure, start, width=width, most=most, thresholds=plan.thresholds)
    local = sorted({c for t in plan.targets for c in shared_cores(t, plan.sender.cpus)})
    return msgspec.structs.replace(
        found,
        local=tuple(local),
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
