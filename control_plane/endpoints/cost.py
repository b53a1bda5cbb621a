"""The gate of cost: what a draft's models were measured to take, against the endpoint's SLO.

A figure comes from the system itself, never from a person: the routers that hold the package now,
else its newest validation, else the job that trained it. A version that nobody measured does not
hold the gate, as a missing figure holds no other gate either.

What is compared is only the model's own time for one row. A request also pays for HTTP, decoding,
rules and audit, and waits while others are answered: a release that holds this gate may still miss
its objective (a load test says), one that does not hold it cannot meet it on that route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from compiler.rules.finding import Finding
from control_plane.db import sql
from control_plane.db.pool import Connection
from router.release.spec import ModelRef

_SQL = sql.load("control_plane.endpoints")

TAIL = 0.9
"""From this quantile on every route has to hold an objective; below it one is enough."""
HINT = "choose a lighter version or another SLO, or propose with the waiver and its reason"


class Cost(Struct, frozen=True):
    """What one row of a package takes, in microseconds, and who measured it."""

    us: float
    by: str


class Objective(Struct, frozen=True):
    """A promise of the SLO that a model's cost alone can break.

    Attributes:
        text: as the SLO says it, such as ``p99_ms=5``.
        us: what it allows.
        every: whether each route has to hold it, or only the cheapest.
    """

    text: str
    us: float
    every: bool


def objectives(slo: Mapping[str, float]) -> list[Objective]:
    """Objectives that say how long an answer or a model may take.

    >>> objectives({"p99_ms": 5, "availability": 0.999, "cost_us": 50})
    [Objective(text='p99_ms=5', us=5000.0, every=True), \
Objective(text='cost_us=50', us=50.0, every=True)]
    """
    found = []
    for word, most in slo.items():
        digits = word.removeprefix("p").removesuffix("_ms")
        if word == "cost_us":
            found.append(Objective(f"{word}={most:g}", float(most), every=True))
        elif word == f"p{digits}_ms" and digits.isdigit():
            every = float(f"0.{digits}") >= TAIL
            found.append(Objective(f"{word}={most:g}", most * 1000.0, every=every))
    return found


def judge_cost(
    slo: Mapping[str, float],
    routes: Sequence[tuple[str, tuple[str, ...]]],
    models: Sequence[ModelRef],
    costs: Mapping[str, Cost],
) -> list[Finding]:
    """Findings at level error for objectives that a route's model alone cannot hold.

    Args:
        slo: of the endpoint.
        routes: rule id and the models it may lead to, none for a refusal.
        models: versions that the draft binds.
        costs: measured, by package digest.
    """
    wanted = objectives(slo)
    if not wanted:
        return []
    bound = {model.name: model for model in models}
    priced: list[tuple[float, str, ModelRef, Cost]] = []
    unknown: dict[str, Finding] = {}
    for rule, names in routes:
        for model in (bound[name] for name in names if name in bound):
            cost = costs.get(model.package)
            if cost is not None:
                priced.append((cost.us, rule, model, cost))
            elif model.name not in unknown:
                unknown[model.name] = _unknown(rule, model, wanted)
    found = list(unknown.values())
    if not priced:
        return found
    worst = max(priced, key=lambda each: each[0])
    cheapest = min(priced, key=lambda each: each[0])
    refuses = any(not names for _, names in routes)
    for objective in wanted:
        us, rule, model, cost = worst if objective.every else cheapest
        if us > objective.us and (objective.every or not (refuses or unknown)):
            found.append(_breach(rule, model, cost, objective))
    return found


def _breach(rule: str, model: ModelRef, cost: Cost, objective: Objective) -> Finding:
    which = "worst" if objective.every else "cheapest"
    return Finding(
        "error",
        "gate.cost",
        f"the {which} route, rule {rule} to {model.name} version {model.version}, costs "
        f"{cost.us:.1f} us a row by {cost.by}; {objective.text} of the endpoint's SLO allows "
        f"{objective.us:.0f} us ({HINT})",
        rules=(rule,),
        at=f"models.{model.name}",
    )


def _unknown(rule: str, model: ModelRef, wanted: Sequence[Objective]) -> Finding:
    return Finding(
        "error",
        "gate.cost_unknown",
        f"nobody measured what {model.name} version {model.version} costs, so that it cannot be "
        f"held against {', '.join(each.text for each in wanted)} of the endpoint's SLO (validate "
        "the version, which measures it: POST /api/validations, or propose with the waiver)",
        rules=(rule,),
        at=f"models.{model.name}",
    )


async def measured(connection: Connection, models: Sequence[ModelRef]) -> dict[str, Cost]:
    """The measured cost of packages, by digest; without those that nobody measured.

    Of a node's workers the smallest figure counts, since noise only adds; of the nodes the largest.
    """
    rows = await connection.fetch(_SQL["measured_costs"], [model.package for model in models])
    return {row["package"]: Cost(row["us"], row["by"]) for row in rows}


async def cost_findings(
    connection: Connection,
    slo: dict[str, Any],
    routes: Sequence[tuple[str, tuple[str, ...]]],
    models: Sequence[ModelRef],
) -> list[Finding]:
    """What the gate says about a draft; nothing where the SLO promises no time."""
    if not objectives(slo):
        return []
    return judge_cost(slo, routes, models, await measured(connection, models))
