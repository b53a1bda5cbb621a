"""Missing, null, NaN, infinite and wrong-typed values under every operator, by every engine.

``tests/data/unknown.jsonl``: its first line is the schema and the time, every other a condition, a
row and the Kleene value (null is UNKNOWN), written down by hand-made tables, not by an engine.
"""

import json
import math
from datetime import datetime
from pathlib import Path

import pytest

from tests.conformance.tables import one_rule, routes_of

LINES = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "data" / "unknown.jsonl").read_text().splitlines()
]
SETUP, CASES = LINES[0], LINES[1:]
NOW_US = round(datetime.fromisoformat(SETUP["now"]).timestamp() * 1_000_000)


def value_of(value):
    return float(value["$"]) if isinstance(value, dict) else value


def fires(condition, row):
    rules, problems = one_rule(condition, SETUP["features"])
    assert rules is not None, problems
    routes = routes_of(rules, row, NOW_US)
    routes["explain"] = rules.explain(row, NOW_US).index
    return {engine: index == 0 for engine, index in routes.items()}


def kleene(condition, row):
    """Value by each engine: UNKNOWN is where neither the condition nor its negation fires."""
    negation = {"combinator": "and", "rules": [condition], "not": True}
    for_, against = fires(condition, row), fires(negation, row)
    assert not any(for_[engine] and against[engine] for engine in for_)
    return {engine: True if for_[engine] else (False if against[engine] else None)
            for engine in for_}  # fmt: skip


def test_cases_are_many_and_distinct():
    assert len({case["name"] for case in CASES}) == len(CASES) >= 400
    assert {case["value"] for case in CASES} == {True, False, None}
    assert any(math.isnan(value_of(v)) for case in CASES for v in case["row"].values()
               if isinstance(v, dict))  # fmt: skip


@pytest.mark.parametrize("part", range(8))
def test_every_engine_gives_the_value_written_down(part):
    for case in CASES[part::8]:
        row = {name: value_of(value) for name, value in case["row"].items()}
        found = kleene(case["condition"], row)
        assert set(found.values()) == {case["value"]}, (case["name"], found)
