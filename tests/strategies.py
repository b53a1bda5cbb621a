"""Generated feature schemas, rule tables and rows, with every value that has ever caused trouble."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from compiler.schema import Feature, FeatureMap

WORDS = ("", "a", "A", "ab", "Ab", "straße", "STRASSE", "x y", "'", '"', "\\", "web", "branch")
PLAIN: dict[str, Feature] = {
    "income": Feature(type="float"),
    "dti": Feature(type="float", nullable=True),
    "rate": Feature(type="float32", nullable=True),
    "score": Feature(type="int"),
    "months": Feature(type="int", nullable=True),
    "amount": Feature(type="decimal", scale=2, nullable=True),
    "paid": Feature(type="decimal", scale=2),
    "owner": Feature(type="bool", nullable=True),
    "name": Feature(type="string", nullable=True),
    "city": Feature(type="string"),
    "channel": Feature(type="enum", values=("web", "branch", "a"), nullable=True),
    "born": Feature(type="date", nullable=True),
    "opened": Feature(type="timestamp", nullable=True),
    "context.hour": Feature(type="int", nullable=True),
    "class": Feature(type="float", nullable=True),
}
BY_TYPE: dict[str, list[str]] = {}
for _name, _feature in PLAIN.items():
    BY_TYPE.setdefault(_feature.type, []).append(_name)
NUMERIC = [n for n, f in PLAIN.items() if f.type in ("int", "float", "float32")]
TEXTUAL = [n for n, f in PLAIN.items() if f.type in ("string", "enum")]
ORDERED = [n for n, f in PLAIN.items() if f.type not in ("string", "enum", "bool")]
NOW_US = 1_718_454_000_000_000

INTS = (
    -(2**63), -(2**53) - 1, -1, 0, 1, 2, 5, 44, 45, 2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63 - 1,
)  # fmt: skip
FLOATS = (
    -1e300, -1.5, -0.0, 0.0, 0.1, 0.44999998807907104, 0.45, 0.45000000000000001,
    0.4500000178813934, 0.5, 1.0, 1.5, 4.5, 5.0, 1e16, 2.0**53, 1e300, 5e-324,
)  # fmt: skip
_EDGES = tuple(
    edge
    for v in (0.45, 1.5, 5.0)
    for edge in (math.nextafter(v, -math.inf), math.nextafter(v, math.inf))
)
DATES = ("1969-12-31", "1970-01-01", "2024-02-29", "2024-06-15", "2024-06-16")
TIMES = (
    "1970-01-01T00:00:00Z",
    "2024-06-15T12:20:00Z",
    "2024-06-15T14:20:00+02:00",
    "2024-06-14T12:20:00.000001Z",
    "2024-06-16T12:20:00Z",
)
DECIMALS = ("0", "0.01", "0.45", "4.5", "5.00", "-1.5", "92233720368547758.07")


def literal(feature: Feature) -> st.SearchStrategy[Any]:
    """A literal as a rule would write it."""
    if feature.type == "int":
        return st.sampled_from([*INTS, 4.5, 0.5, 2**70, -(2**70)])
    if feature.type in ("float", "float32"):
        pool = [v for v in (*FLOATS, *_EDGES, *INTS) if feature.type == "float" or abs(v) < 1e38]
        return st.sampled_from(pool)
    if feature.type == "decimal":
        return st.sampled_from([*DECIMALS, 4.5, 5, 0.455, "0.455", 2**70])
    if feature.type == "bool":
        return st.booleans()
    if feature.type == "enum":
        return st.sampled_from(feature.values)
    if feature.type == "date":
        return st.sampled_from(DATES)
    return st.sampled_from(TIMES if feature.type == "timestamp" else WORDS)


def _leaf(name: str) -> st.SearchStrategy[dict[str, Any]]:
    feature = PLAIN[name]
    value = literal(feature)
    ordered = name in ORDERED
    ops = ["=", "!=", "<", "<=", ">", ">="] if ordered else ["=", "!="]
    peers = {
        "int": NUMERIC,
        "float": NUMERIC,
        "float32": NUMERIC,
        "string": TEXTUAL,
        "enum": TEXTUAL,
    }.get(feature.type, BY_TYPE[feature.type])
    choices = [
        st.builds(_cmp, st.just(name), st.sampled_from(ops), value),
        st.builds(_cmp, st.just(name), st.sampled_from(["distinctFrom", "notDistinctFrom"]), value),
        st.builds(
            _cmp, st.just(name), st.sampled_from(["in", "notIn"]), st.lists(value, max_size=4)
        ),
        st.builds(_presence, st.just(name), st.sampled_from(["null", "notNull"])),
        st.builds(
            _field,
            st.just(name),
            st.sampled_from([*ops, "distinctFrom", "notDistinctFrom"]),
            st.sampled_from(peers),
        ),
    ]
    if ordered:
        choices.append(
            st.builds(
                _between,
                st.just(name),
                st.sampled_from(["between", "notBetween"]),
                st.lists(value, min_size=2, max_size=2),
            )
        )
    if name in TEXTUAL:
        words = st.sampled_from(
            [
                "contains",
                "doesNotContain",
                "beginsWith",
                "doesNotBeginWith",
                "endsWith",
                "doesNotEndWith",
            ]
        )
        choices.append(
            st.builds(_text, st.just(name), words, st.sampled_from(WORDS), st.booleans())
        )
        choices.append(
            st.builds(
                _text,
                st.just(name),
                st.sampled_from(["matches", "doesNotMatch"]),
                st.sampled_from(["^a", "b$", "[aA]b?", "web|x"]),
                st.booleans(),
            )
        )
        choices.append(
            st.builds(_presence, st.just(name), st.sampled_from(["isEmpty", "isNotEmpty"]))
        )
    if feature.type == "timestamp":
        words = st.sampled_from(["inLast", "inNext", "notInLast", "notInNext"])
        choices.append(
            st.builds(_cmp, st.just(name), words, st.sampled_from(["1d", "24h", "2w", "5s"]))
        )
        choices.append(st.builds(_now, st.just(name), st.sampled_from(ops)))
    if feature.type in ("float", "float32"):
        choices.append(st.just({"field": name, "operator": "isNaN"}))
    return st.one_of(choices)


def _cmp(name: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": name, "operator": op, "value": value}


def _presence(name: str, op: str) -> dict[str, Any]:
    return {"field": name, "operator": op}


def _field(name: str, op: str, other: str) -> dict[str, Any]:
    return {"field": name, "operator": op, "value": other, "valueSource": "field"}


def _between(name: str, op: str, ends: list[Any]) -> dict[str, Any]:
    keys = {"decimal": lambda v: decimal.Decimal(str(v)), "timestamp": dt.datetime.fromisoformat}
    ends = sorted(ends, key=keys.get(PLAIN[name].type))
    return {"field": name, "operator": op, "value": ends}


def _text(name: str, op: str, value: str, fold: bool) -> dict[str, Any]:
    return {"field": name, "operator": op, "value": value, "caseInsensitive": fold}


def _now(name: str, op: str) -> dict[str, Any]:
    return {"field": name, "operator": op, "value": {"now": True}, "valueSource": "expression"}


def operand() -> st.SearchStrategy[dict[str, Any]]:
    """A numeric operand, arithmetic included."""
    field = st.sampled_from([*NUMERIC, *BY_TYPE["decimal"]]).map(lambda name: {"field": name})
    value = st.sampled_from([0, 1, 2, -1.5, 0.45, 1e300, 2**53 + 1]).map(lambda v: {"value": v})

    def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        two = st.builds(
            lambda op, a, b: {"op": op, "args": [a, b]},
            st.sampled_from(["+", "-", "*", "/", "min", "max", "coalesce"]),
            inner,
            inner,
        )
        one = st.builds(lambda op, a: {"op": op, "args": [a]}, st.sampled_from(["-", "abs"]), inner)
        return two | one

    return st.recursive(field | value, deeper, max_leaves=4)


def computed() -> st.SearchStrategy[dict[str, Any]]:
    """A test of an arithmetic expression."""
    ops = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "distinctFrom", "notDistinctFrom"])
    left = operand().filter(lambda node: "op" in node)
    against = st.builds(
        lambda lhs, op, v: {"lhs": lhs, "operator": op, "value": v},
        left,
        ops,
        st.sampled_from([0, 1.5, -3, 2.0**53]),
    )
    both = st.builds(
        lambda lhs, op, v: {"lhs": lhs, "operator": op, "value": v, "valueSource": "expression"},
        left,
        ops,
        operand().filter(lambda node: node.get("field") not in BY_TYPE["decimal"]),
    )
    ends = st.builds(
        lambda lhs, op: {"lhs": lhs, "operator": op, "value": [-1, 5.5]},
        left,
        st.sampled_from(["between", "notBetween", "in", "notIn"]),
    )
    presence = st.builds(
        lambda lhs, op: {"lhs": lhs, "operator": op}, left, st.sampled_from(["null", "notNull"])
    )
    return against | both | ends | presence


def conditions(max_leaves: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """A condition of the JSON form."""
    leaf = st.sampled_from(list(PLAIN)).flatmap(_leaf) | computed()

    def group(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            lambda word, parts, flip: {"combinator": word, "rules": parts, "not": flip},
            st.sampled_from(["and", "or", "xor"]),
            st.lists(inner, min_size=1, max_size=3),
            st.booleans(),
        )

    empty = st.builds(lambda v: {"combinator": "and", "rules": [], "allowEmpty": v}, st.booleans())
    return st.recursive(leaf, lambda inner: group(inner | empty), max_leaves=max_leaves)


@st.composite
def cascades(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """Rules with a default, nested now and then."""
    rules = []
    for index in range(draw(st.integers(0 if depth else 1, 3))):
        consequent: dict[str, Any] = {"type": "model", "model": f"m{depth}_{index}"}
        if depth < 2 and draw(st.integers(0, 4)) == 0:
            consequent = {"type": "rules", **draw(cascades(depth=depth + 1))}
        rules.append(
            {"id": f"r{index}", "antecedent": draw(conditions(5)), "consequent": consequent}
        )
    return {"conditions": rules, "defaultConsequent": {"type": "reject", "reason": f"d{depth}"}}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """A whole table over :data:`PLAIN`."""
    on_unknown = draw(
        st.sampled_from(["fallthrough", "fallthrough", "error", {"consequent": {"type": "reject"}}])
    )
    return {"$schema": "interlock/rules/v1", "onUnknown": on_unknown, **draw(cascades())}


def edge_rows(document: Any, most: int = 24) -> list[dict[str, Any]]:
    """Rows made of the literals of a condition or table and of what lies next to them."""
    found: dict[str, list[Any]] = {}
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            if isinstance(node.get("field"), str) and "value" in node and "valueSource" not in node:
                values = node["value"] if isinstance(node["value"], list) else [node["value"]]
                for value in values:
                    found.setdefault(node["field"], []).extend(_near(value))
            stack.extend(node.values())
    count = max(map(len, found.values()), default=0)
    numbers = range(0, count, max(1, count // most))
    return [{n: values[number % len(values)] for n, values in found.items()} for number in numbers]


def _near(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (value,)
    if isinstance(value, int):
        return (value - 1, value, value + 1)
    return (math.nextafter(value, -math.inf), value, math.nextafter(value, math.inf))


def crowded() -> st.SearchStrategy[dict[str, Any]]:
    """A group of several tests of one feature, which merge."""
    return st.sampled_from(list(PLAIN)).flatmap(
        lambda name: st.builds(
            lambda word, parts, flip: {"combinator": word, "rules": parts, "not": flip},
            st.sampled_from(["and", "or"]),
            st.lists(_leaf(name), min_size=2, max_size=5),
            st.booleans(),
        )
    )


@st.composite
def repetitive(draw: st.DrawFn) -> dict[str, Any]:
    """Groups of groups of the same few tests, in which parts are idle."""
    leaves = draw(st.lists(st.sampled_from(list(PLAIN)).flatmap(_leaf), min_size=2, max_size=3))
    few = st.lists(st.sampled_from(leaves), min_size=1, max_size=3)
    word = st.sampled_from(["and", "or"])
    inner = st.builds(lambda op, parts: {"combinator": op, "rules": parts}, word, few)
    parts = draw(st.lists(inner | st.sampled_from(leaves), min_size=2, max_size=4))
    return {"combinator": draw(word), "rules": parts}


@st.composite
def range_tables(draw: st.DrawFn) -> dict[str, Any]:
    """A table of many rules that test single features, as a bitmask index takes them."""
    leaf = st.sampled_from(list(PLAIN)).flatmap(_leaf)
    groups = st.builds(
        lambda word, parts: {"combinator": word, "rules": parts},
        st.sampled_from(["and", "and", "and", "or"]),
        st.lists(leaf | conditions(3) | crowded(), min_size=1, max_size=4),
    )
    rules = [
        {"id": f"r{index}", "antecedent": antecedent, "consequent": {"type": "model", "model": "m"}}
        for index, antecedent in enumerate(draw(st.lists(groups, min_size=5, max_size=40)))
    ]
    on_unknown = draw(st.sampled_from(["fallthrough", "fallthrough", "error"]))
    default = {"type": "reject", "reason": "none"}
    table = {"$schema": "interlock/rules/v1", "onUnknown": on_unknown}
    return {**table, "conditions": rules, "defaultConsequent": default}


def sound_value(feature: Feature) -> st.SearchStrategy[Any]:
    """A value of the declared type, as Python holds it."""
    if feature.type == "int":
        return st.sampled_from(INTS)
    if feature.type in ("float", "float32"):
        pool = [*FLOATS, *_EDGES, math.inf, -math.inf]
        return st.sampled_from(pool) | st.floats(allow_nan=False, width=32)
    if feature.type == "decimal":
        return st.sampled_from(DECIMALS).map(decimal.Decimal)
    if feature.type == "bool":
        return st.booleans()
    if feature.type == "date":
        return st.sampled_from(DATES).map(dt.date.fromisoformat)
    if feature.type == "timestamp":
        return st.sampled_from(TIMES).map(dt.datetime.fromisoformat)
    return st.sampled_from(feature.values if feature.type == "enum" else WORDS)


WRONG = (
    None,
    math.nan,
    True,
    False,
    3,
    3.0,
    3.5,
    "3",
    "",
    "web",
    2**70,
    1e308,
    [],
    [1],
    {},
    "2024-06-15",
    np.float64(0.45),
    np.float32(0.45),
    np.int64(5),
    decimal.Decimal("4.5"),
    "12.345",
    b"x",
)


def sound_rows(features: FeatureMap = PLAIN) -> st.SearchStrategy[dict[str, Any]]:
    """A row that the schema accepts, MISSING as None."""
    return st.fixed_dictionaries(
        {
            n: sound_value(f) | st.none() if f.nullable else sound_value(f)
            for n, f in features.items()
        }
    )


def wild_rows(features: FeatureMap = PLAIN) -> st.SearchStrategy[dict[str, Any]]:
    """A row with absent keys and values of wrong types."""
    return st.fixed_dictionaries(
        {}, optional={n: sound_value(f) | st.sampled_from(WRONG) for n, f in features.items()}
    )
