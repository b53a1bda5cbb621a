"""What routing saves: everything on the heaviest model against the mix that the rules make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loadtest.capacity import Demand
from loadtest.errors import LoadTestError
from loadtest.mix import RouteMix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtest.serverside import ServerSide

HOURS_A_MONTH = 730
IDLE_SHARE = 0.5
LEAST_SAMPLES = 10
"""Of a model's processor time; below, its clock time is taken."""
Source = Literal["run", "router", "package"]


class Costs(Struct, frozen=True):
    """What requests cost in processor time, microseconds.

    Attributes:
        models: one prediction in each model.
        sources: where each of them was measured: a run, the router since its start, or the package
            when a node loaded it.
        rest_us: everything else of a request.
        rest: what that covers, in words.
        notes: what a reader should know.
    """

    models: dict[str, float]
    sources: dict[str, Source]
    rest_us: float
    rest: str
    notes: tuple[str, ...] = ()


class RouteCost(Struct, frozen=True):
    """One model's part: share of requests, processor time of one, and where it was measured."""

    model: str
    share: float
    model_us: float
    total_us: float
    source: str


class Side(Struct, frozen=True):
    """One way to answer everything.

    Attributes:
        cpu_us: processor time of a request.
        cpu_s_per_million: processor seconds of a million.
        cores: that have to be paid, for the peak, within the headroom, spares included.
        monthly: their price.
        per_million: price of a million requests at the average rate.
    """

    cpu_us: float
    cpu_s_per_million: float
    cores: int
    monthly: float
    per_million: float


class RouteSaving(Struct, frozen=True):
    """Everything on the heaviest model against routed.

    Attributes:
        routes: by falling cost.
        heaviest: model that would otherwise answer everything.
        before, after: both ways; requests that a rule refuses stay refused in both.
        saved_share: of the processor time.
        mix, costs, demand: what it was computed from.
    """

    routes: tuple[RouteCost, ...]
    heaviest: str
    before: Side
    after: Side
    saved_share: float
    mix: RouteMix
    costs: Costs
    demand: Demand
    format: Literal["interlock/route-saving/v1"] = "interlock/route-saving/v1"


def costs_of(
    server: ServerSide | None, source: Source, package_us: Mapping[str, float], wanted: set[str]
) -> Costs:
    """Each model's cost, from the best source there is for it.

    Args:
        server: counters of a run, or of the router since its start.
        source: which of the two.
        package_us: cost of each model when it was loaded.
        wanted: models of the mix.
    """
    if server is None:
        known = {name: package_us[name] for name in wanted & set(package_us)}
        return Costs(
            known, dict.fromkeys(known, "package"), 0.0, "nothing",
            ("only the models' time is known, not HTTP, decoding, rules and audit: give --run",),
        )  # fmt: skip
    factor = 1.0
    if server.cpu_us is not None and 0 < server.cpu_us < server.router_us:
        # a clock runs on while another process has the core; processor time does not
        factor = server.cpu_us / server.router_us
    models = {name: us * factor for name, us in server.model_us.items() if name}
    taken = {
        name: us
        for name, us in server.model_cpu_us.items()
        if server.model_samples.get(name, 0) >= LEAST_SAMPLES
    }
    models |= taken
    sources: dict[str, Source] = dict.fromkeys(models, source)
    for name in wanted - set(models):
        if name in package_us:
            models[name], sources[name] = package_us[name], "package"
    notes = []
    guessed = sorted(
        name for name in wanted & set(models) if name not in taken and sources[name] != "package"
    )
    if guessed:
        notes.append(
            f"clock time{f' times {factor:.2f}' if factor < 1 else ''} stands for the processor "
            f"time of {', '.join(guessed)}: fewer than {LEAST_SAMPLES} of its requests were timed"
        )
    if server.cpu_us is not None:
        scored = sum(n * models.get(name, 0.0) for name, n in server.models.items())
        rest_us = max(server.cpu_us - scored / server.requests, 0.0)
        rest = "the router's whole processor time but models, kernel included"
    else:
        rest_us, rest = server.rest_us, "decoding, rules, audit and encoding; HTTP and kernel not"
    if server.busy is not None and server.busy < IDLE_SHARE:
        notes.append(
            f"the router was only {server.busy:.0%} busy: a request costs more then (cold caches, "
            "wake-ups) than near the knee; a run close to it gives the figures to buy by"
        )
    return Costs(models, sources, rest_us, rest, tuple(notes))


def plan_by_route(demand: Demand, mix: RouteMix, costs: Costs) -> RouteSaving:
    """What routing saves, from the mix of routes and each model's measured cost.

    Args:
        demand: what is asked for.
        mix: requests per model.
        costs: of each model, and of the rest of a request.

    Raises:
        LoadTestError: an empty mix, or a model without a measured cost.
    """
    scored = {name: n for name, n in mix.models.items() if n > 0}
    lacking = sorted(set(scored) - set(costs.models))
    if not scored or lacking:
        raise LoadTestError(
            f"no measured cost of {', '.join(lacking)}" if lacking else "the mix is empty",
            at="--by-route",
            hint="send some load through every route first: interlock loadtest run --out DIR",
        )
    routes = sorted(
        (
            RouteCost(
                name,
                n / mix.total,
                costs.models[name],
                costs.models[name] + costs.rest_us,
                costs.sources[name],
            )
            for name, n in scored.items()
        ),
        key=lambda route: (-route.total_us, route.model),
    )
    rejected = mix.rejected / mix.total * costs.rest_us
    heaviest = max(sorted(scored), key=lambda name: costs.models[name])
    before_us = (1 - mix.rejected / mix.total) * costs.models[heaviest] + costs.rest_us
    after_us = sum(route.share * route.total_us for route in routes) + rejected
    return RouteSaving(
        tuple(routes),
        heaviest,
        _side(demand, before_us),
        _side(demand, after_us),
        1 - after_us / before_us,
        mix,
        costs,
        demand,
    )


def _side(demand: Demand, cpu_us: float) -> Side:
    usable = 1e6 / cpu_us * demand.headroom
    cores = math.ceil(demand.rate * demand.burst / usable) + demand.redundancy
    price = cores * demand.node_price
    return Side(
        cpu_us=cpu_us,
        cpu_s_per_million=cpu_us,
        cores=cores,
        monthly=price * HOURS_A_MONTH,
        per_million=price / (demand.rate * 3600) * 1e6,
    )
