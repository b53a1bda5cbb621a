"""The front door: check a plan, try it once, run it, judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loadtest.agents import execute_on_agents
from loadtest.monitor import Monitor
from loadtest.plan import check_plan
from loadtest.preflight import preflight
from loadtest.processes import Raw, execute, require_room
from loadtest.summary import Summary, summarise, with_server
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loadtest.plan import Plan
    from loadtest.record import Records


class Outcome(Struct, frozen=True):
    """A judged run with its raw records."""

    summary: Summary
    raw: Raw


def run(
    plan: Plan,
    *,
    ceiling: float | None = None,
    watch: Callable[[list[Records], int], bool] | None = None,
    agents: tuple[tuple[str, int], ...] = (),
    token: bytes = b"",
    services: Mapping[str, int] | None = None,
) -> Outcome:
    """Run a plan.

    Args:
        plan: what to do.
        ceiling: calibrated requests per second of this generator, when known.
        watch: see :func:`loadtest.processes.execute`.
        agents: machines that send instead of this one.
        token: secret shared with the agents.
        services: names and process ids of the stack on this machine, when there is one.

    Raises:
        LoadTestError: the plan, the target or a threshold cannot be used; no load was sent.
    """
    check_plan(plan)
    require_room(plan.sender.cpus)
    for text in plan.thresholds:
        parse_threshold(text)
    plan = preflight(plan)
    return measure_with(
        plan,
        lambda: execute_on_agents(plan, agents, token) if agents else execute(plan, watch),
        ceiling=ceiling,
        services=services,
    )


def measure_with(
    plan: Plan,
    send: Callable[[], Raw],
    *,
    ceiling: float | None = None,
    services: Mapping[str, int] | None = None,
) -> Outcome:
    """Send a checked and pre-flighted plan, watching its target, and judge what came of it.

    Args:
        plan: what is sent.
        send: sends it.
        ceiling: as for :func:`run`.
        services: as for :func:`run`.
    """
    with Monitor(plan, services or {}) as monitor:
        raw = send()
        summary = summarise(plan, raw, ceiling)
        late = any(r.side == "generator" and r.rule != "samples" for r in summary.reasons)
        server, binding = monitor.found(raw.reports, late=late)
    return Outcome(with_server(summary, raw, server, binding), raw)
