"""The front door: check a plan, try it once, run it, judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loadtest.agents import execute_on_agents
from loadtest.plan import check_plan
from loadtest.preflight import preflight
from loadtest.processes import Raw, execute, require_room
from loadtest.serverside import difference, read_server
from loadtest.summary import Summary, summarise
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

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
) -> Outcome:
    """Run a plan.

    Args:
        plan: what to do.
        ceiling: calibrated requests per second of this generator, when known.
        watch: see :func:`loadtest.processes.execute`.
        agents: machines that send instead of this one.
        token: secret shared with the agents.

    Raises:
        LoadTestError: the plan, the target or a threshold cannot be used; no load was sent.
    """
    check_plan(plan)
    require_room(plan.sender.cpus)
    for text in plan.thresholds:
        parse_threshold(text)
    plan = preflight(plan)
    before = read_server(plan.targets[0], plan.metrics) if plan.metrics else None
    raw = execute_on_agents(plan, agents, token) if agents else execute(plan, watch)
    after = read_server(plan.targets[0], plan.metrics) if plan.metrics else None
    return Outcome(summarise(plan, raw, ceiling, difference(before, after)), raw)
