"""The gate of cost: which objectives a model's own time can break, and what is said about it."""

from __future__ import annotations

import pytest

from control_plane.endpoints.cost import Cost, judge_cost, objectives
from control_plane.endpoints.releases import may_waive
from router.release.spec import ModelRef

QUICK, BIG = ModelRef("quick", 3, "sha256:q"), ModelRef("big", 7, "sha256:b")
MODELS = (QUICK, BIG)
ROUTES = (("small", ("quick",)), ("large", ("big",)), ("default", ("quick",)))
COSTS = {"sha256:q": Cost(12.0, "validation 1"), "sha256:b": Cost(7120.04, "validation 4")}


def codes(slo, routes=ROUTES, costs=COSTS):
    return [finding.code for finding in judge_cost(slo, routes, MODELS, costs)]


def test_a_breach_names_the_worst_route_its_source_and_both_figures() -> None:
    (found,) = judge_cost({"p99_ms": 5.0}, ROUTES, MODELS, COSTS)
    assert (found.level, found.code, found.at, found.rules) == (
        "error", "gate.cost", "models.big", ("large",),
    )  # fmt: skip
    for part in ("rule large", "big version 7", "7120.0 us", "validation 4", "p99_ms=5", "5000 us"):
        assert part in found.message


@pytest.mark.parametrize(
    ("slo", "expected"),
    [
        ({}, []),
        ({"availability": 0.999}, []),
        ({"p99_ms": 8.0}, []),
        ({"p99_ms": 7.0}, ["gate.cost"]),
        ({"p999_ms": 7.0, "p90_ms": 7.0}, ["gate.cost", "gate.cost"]),
        ({"cost_us": 7000.0}, ["gate.cost"]),
        ({"cost_us": 8000.0}, []),
        ({"p50_ms": 1.0}, []),
        ({"p50_ms": 0.01}, ["gate.cost"]),
    ],
)
def test_every_route_holds_a_tail_and_one_route_a_median(slo, expected) -> None:
    assert codes(slo) == expected


def test_a_median_is_not_proved_broken_while_a_rule_refuses_or_a_model_is_not_measured() -> None:
    assert codes({"p50_ms": 0.01}, (*ROUTES, ("no", ()))) == []
    assert codes({"p50_ms": 0.01}, costs={"sha256:b": COSTS["sha256:b"]}) == ["gate.cost_unknown"]


def test_arms_of_a_split_count_and_models_that_no_rule_names_do_not() -> None:
    assert codes({"p99_ms": 5.0}, (("split", ("quick", "big")),)) == ["gate.cost"]
    assert codes({"p99_ms": 5.0}, (("default", ("quick",)),)) == []
    assert codes({"p99_ms": 5.0}, (("default", ("nobody",)),)) == []


def test_what_nobody_measured_does_not_hold_and_is_said_once_per_model() -> None:
    (found,) = judge_cost({"p99_ms": 5.0}, ROUTES, MODELS, {"sha256:b": Cost(1.0, "x")})
    assert (found.code, found.at) == ("gate.cost_unknown", "models.quick")
    assert "POST /api/validations" in found.message
    assert codes({"availability": 0.9}, costs={}) == []


def test_both_can_be_waived_and_names_that_are_no_objective_are_left_alone() -> None:
    assert may_waive("gate.cost")
    assert may_waive("gate.cost_unknown")
    assert objectives({"p_ms": 1, "p99": 1, "pxx_ms": 1, "mean_ms": 1}) == []
