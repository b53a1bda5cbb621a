"""UNKNOWN rules of a decision are found without the interpreter, and are those it finds."""

import math
from types import SimpleNamespace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from tests.strategies import NOW_US, PLAIN, range_tables, sound_rows

FEATURES = {
    "income": Feature(type="float", nullable=True),
    "debt": Feature(type="float", nullable=True),
    "region": Feature(type="string"),
}


@settings(
    max_examples=15, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(range_tables(), st.lists(sound_rows(), min_size=1, max_size=6))
def test_they_are_those_of_the_reference(table, rows):
    rules = compile_rules(table, features=PLAIN)
    for row in rows:
        f = SimpleNamespace(**{n: v for n, v in row.items() if "." not in n})
        c = SimpleNamespace(**{n.partition(".")[2]: v for n, v in row.items() if "." in n})
        assert rules.unknowns(f, c, NOW_US) == rules.reference(row, NOW_US)[1]


def test_rules_that_never_decide_are_told_too():
    low = {"field": "income", "operator": "<", "value": 1}
    never = {"combinator": "and", "rules": [low, {"field": "income", "operator": ">", "value": 9}]}
    conditions = [low, never, {"field": "region", "operator": "=", "value": "x"}] * 12
    table = {
        "$schema": "interlock/rules/v1",
        "conditions": [
            {"id": f"r{i}", "antecedent": each, "consequent": {"type": "model", "model": "m"}}
            for i, each in enumerate(conditions)
        ],
        "defaultConsequent": {"type": "reject", "reason": "d"},
    }
    rules = compile_rules(table, features=FEATURES)
    row = {"income": None, "debt": 1.0, "region": "a"}
    found = rules.unknowns(SimpleNamespace(**row), None, 0)
    assert found == rules.reference(row)[1]
    assert found == tuple(f"r{i}" for i in range(36) if i % 3 != 2)
    assert len(rules._unknowns._truths) == 24  # those of the region were ruled out unasked


def test_a_whole_row_asks_no_rule():
    table = {
        "$schema": "interlock/rules/v1",
        "conditions": [
            {"id": "r", "antecedent": {"field": "income", "operator": ">", "value": 1},
             "consequent": {"type": "model", "model": "m"}},
        ],
        "defaultConsequent": {"type": "reject", "reason": "d"},
    }  # fmt: skip
    rules = compile_rules(table, features=FEATURES)
    whole = SimpleNamespace(income=0.5, debt=1.0, region="a")
    assert rules.unknowns(whole, None, 0) == ()
    assert not rules._unknowns._truths
    assert rules.unknowns(SimpleNamespace(income=None, debt=1.0, region="a"), None, 0) == ("r",)
    assert rules.unknowns(SimpleNamespace(income=math.nan, debt=1.0, region="a"), None, 0) == ("r",)
    assert len(rules._unknowns._truths) == 1


def test_arithmetic_is_asked_even_where_nothing_is_missing():
    table = {
        "$schema": "interlock/rules/v1",
        "conditions": [
            {"id": "ratio",
             "antecedent": {"lhs": {"op": "/", "args": [{"field": "debt"}, {"field": "income"}]},
                            "operator": ">", "value": 0.5},
             "consequent": {"type": "model", "model": "m"}},
        ],
        "defaultConsequent": {"type": "reject", "reason": "d"},
    }  # fmt: skip
    rules = compile_rules(table, features=FEATURES)
    assert rules.unknowns(SimpleNamespace(income=0.0, debt=1.0, region=""), None, 0) == ("ratio",)
    assert rules.unknowns(SimpleNamespace(income=2.0, debt=1.0, region=""), None, 0) == ()
