"""Whatever a parser is given ends with a table or a list of problems, in bounded time."""

from __future__ import annotations

import json
import resource
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.errors import ProblemsError
from compiler.rules.lex import MAX_PROBLEMS
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature

FEATURES = {
    "a": Feature(type="float"),
    "n": Feature(type="int"),
    "name": Feature(type="string", nullable=True),
}
MODEL = {"type": "model", "model": "m"}
SETTINGS = settings(
    max_examples=600, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


def _table(antecedent):
    rule = {"antecedent": antecedent, "consequent": MODEL}
    return json.dumps({"conditions": [rule], "defaultConsequent": MODEL})


def _test(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def _problems(document):
    try:
        compile_rules(document, features=FEATURES)
    except ProblemsError as error:
        return error.problems
    return ()


HOSTILE = {
    "many faulty leaves": _table(
        {"combinator": "or", "rules": [_test("b", "<", 1), {"x": 1}] * 60_000}
    ),
    "many faulty words": "IF # < 1 THEN m ELSE " * 30_000 + "m",
    "a million brackets": "[" * 1_000_000,
    "a million quotes": "IF a = '" + "''" * 1_000_000,
    "a million words": "IF " + "a " * 300_000,
    "a million rules": "IF a < 1 THEN m ELSE " * 50_000 + "m",
    "a wide group": _table({"combinator": "or", "rules": [_test("a", "<", 1)] * 201_000}),
    "a long pattern": _table(_test("name", "matches", "a?" * 250 + "a" * 250)),
    "nested counts": _table(_test("name", "matches", "((a{1000}){1000}){1000}")),
    "a decimal of many digits": _table(_test("n", "=", 1)).replace('"value": 1', '"value": 1e300'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_costs_little_time_and_memory(name):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert len(_problems(HOSTILE[name])) <= MAX_PROBLEMS + 1
    assert time.process_time() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


WORDS = (
    "IF THEN ELSE AND OR XOR NOT IN BETWEEN IS NULL NAN TRUE FALSE AS NOW CONTAINS BEGINS MATCHES "
    "WITH IGNORE CASE DISTINCT FROM EMPTY LAST NEXT BY SALT LAYER REJECT SPLIT SHADOW CHALLENGE "
    "TABLE ON UNKNOWN REVISION DESCRIPTION ABS COALESCE ( ) , = < <> - + / * @ : a n name 'x' '7d' "
    "'(' \"q\" ' \" 1 2.5 1e9 -- \0 é \n [ ] { } && || ! == ."
)
SOUP = st.lists(st.sampled_from(WORDS.split(" ")), max_size=40).map(" ".join)
SCALARS = [
    "a",
    "n",
    "name",
    "and",
    "<",
    "in",
    "matches",
    "between",
    "rules",
    "model",
    "split",
    "inLast",
    "value",
    "field",
    "expression",
    "+",
    "(",
    "error",
]
KEYS = [
    "conditions",
    "defaultConsequent",
    "antecedent",
    "consequent",
    "combinator",
    "rules",
    "not",
    "field",
    "operator",
    "value",
    "valueSource",
    "lhs",
    "op",
    "args",
    "cel",
    "type",
    "model",
    "version",
    "weights",
    "salt",
    "unit",
    "id",
    "onUnknown",
    "features",
    "output",
    "kind",
    "text",
    "allowEmpty",
    "caseInsensitive",
    "description",
    "revision",
    "now",
]
JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats()
    | st.sampled_from([*SCALARS, "", "\ud800", "a < 1.0 && n > 2"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)
RULE = st.fixed_dictionaries(
    {
        "conditions": st.lists(
            st.fixed_dictionaries({"antecedent": JSONISH, "consequent": JSONISH}), max_size=2
        ),
        "defaultConsequent": st.just(MODEL) | JSONISH,
    },
    optional={"onUnknown": JSONISH, "kind": JSONISH, "output": JSONISH, "features": JSONISH},
)


@SETTINGS
@given(
    st.binary(max_size=60)
    | st.text(max_size=60)
    | SOUP
    | SOUP.map("IF a < 1 AND {} THEN m ELSE m".format)
    | SOUP.map(lambda text: _table({"cel": text}))
    | JSONISH.map(json.dumps)
    | RULE.map(json.dumps)
    | RULE
)
def test_whatever_comes_is_a_table_or_a_list_of_problems(document):
    assert all(problem.code and problem.message for problem in _problems(document))
