"""Generated decision tables: over a model's answer and the request, with answers as models give."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from compiler.schema import OutputSchema
from tests.strategies import conditions

OUTPUTS = {
    "classification": OutputSchema("classification", ("good", "bad", "straße")),
    "regression": OutputSchema("regression"),
    "clustering": OutputSchema("clustering"),
}
SHARES = (0.0, 5e-324, 0.1, 0.3, math.nextafter(0.3, 1), 0.45, 0.5, math.nextafter(1, 0), 1.0)
VALUES = (-1e300, -1.5, -0.0, 0.0, 0.45, math.nextafter(0.45, 1), 5.0, 2.0**53, 1e300)
CLUSTERS = (0, 1, 2, 7)
_ORDERS = ("=", "!=", "<", "<=", ">", ">=")


def _names(task: str) -> dict[str, tuple[Any, ...]]:
    """Numbers of an answer by name, with literals that they are compared with."""
    if task == "regression":
        return {"output.value": VALUES}
    if task == "clustering":
        return {"output.cluster": (*CLUSTERS, 1.5, -1), "output.distance": (0, 0.5, 1e300)}
    short = {f"probability.{name}": SHARES for name in ("good", "bad")}
    return {**short, "output.probability.straße": SHARES, "output.probability.bad": SHARES}


def _leaf(task: str) -> st.SearchStrategy[dict[str, Any]]:
    names = _names(task)
    name = st.sampled_from(list(names))
    compared = name.flatmap(
        lambda one: st.fixed_dictionaries(
            {
                "field": st.just(one),
                "operator": st.sampled_from([*_ORDERS, "distinctFrom"]),
                "value": st.sampled_from(names[one]),
            }
        )
    )
    between = name.flatmap(
        lambda one: st.fixed_dictionaries(
            {
                "field": st.just(one),
                "operator": st.sampled_from(["between", "notBetween"]),
                "value": st.lists(st.sampled_from(names[one]), min_size=2, max_size=2).map(sorted),
            }
        )
    )
    to_field = st.fixed_dictionaries(
        {
            "field": name,
            "operator": st.sampled_from(_ORDERS),
            "value": st.sampled_from([*names, "income", "dti", "rate", "score", "months"]),
            "valueSource": st.just("field"),
        }
    )
    present = st.fixed_dictionaries(
        {"field": name, "operator": st.sampled_from(["null", "notNull"])}
    )
    computed = st.fixed_dictionaries(
        {
            "lhs": st.builds(
                lambda op, one, other: {"op": op, "args": [{"field": one}, {"field": other}]},
                st.sampled_from(["+", "-", "*", "/", "max"]),
                name,
                st.sampled_from([*names, "dti", "income"]),
            ),
            "operator": st.sampled_from(_ORDERS),
            "value": st.sampled_from([0, 0.5, 5.0]),
        }
    )
    found = [compared, compared, between, to_field, present, computed]
    if task == "classification":
        word = st.sampled_from(OUTPUTS[task].classes)
        label = st.sampled_from(["label", "output.label"])
        found += [
            st.fixed_dictionaries(
                {"field": label, "operator": st.sampled_from(["=", "!="]), "value": word}
            ),
            st.fixed_dictionaries(
                {
                    "field": label,
                    "operator": st.sampled_from(["in", "notIn"]),
                    "value": st.lists(word, min_size=1, max_size=3),
                }
            ),
        ]
    return st.one_of(found)


def _condition(task: str) -> st.SearchStrategy[dict[str, Any]]:
    def group(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            lambda word, parts, flip: {"combinator": word, "rules": parts, "not": flip},
            st.sampled_from(["and", "or", "xor"]),
            st.lists(inner, min_size=1, max_size=3),
            st.booleans(),
        )

    leaf = _leaf(task)
    return st.recursive(leaf | leaf | conditions(2), group, max_leaves=6)


@st.composite
def decision_tables(draw: st.DrawFn, task: str, most: int = 4, depth: int = 0) -> dict[str, Any]:
    """A decision table over answers of one kind and :data:`tests.strategies.PLAIN`."""
    rules = []
    for index in range(draw(st.integers(1, most))):
        consequent: dict[str, Any] = {"type": "decision", "decision": f"d{depth}_{index}"}
        if depth < 1 and draw(st.integers(0, 5)) == 0:
            inner = draw(decision_tables(task, most=2, depth=depth + 1))
            consequent = {
                "type": "rules",
                "conditions": inner["conditions"],
                "defaultConsequent": inner["defaultConsequent"],
            }
        rules.append(
            {"id": f"r{index}", "antecedent": draw(_condition(task)), "consequent": consequent}
        )
    last = {"type": "decision", "decision": f"last{depth}"}
    unknown = draw(st.sampled_from(["fallthrough", "fallthrough", "error", {"consequent": last}]))
    return {
        "$schema": "interlock/rules/v1",
        "kind": "decision",
        "onUnknown": unknown,
        "conditions": rules,
        "defaultConsequent": last,
    }


def answers(task: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """What a model of that kind answers: label and probabilities, a value, or a cluster."""
    if task == "regression":
        return st.sampled_from(VALUES).map(lambda value: (value,))
    if task == "clustering":
        return st.tuples(st.sampled_from(CLUSTERS), st.sampled_from([0.0, 0.5, 3.5]))
    classes = OUTPUTS[task].classes
    share = st.sampled_from(SHARES)
    return st.tuples(st.sampled_from(classes), st.tuples(*(share for _ in classes)))
