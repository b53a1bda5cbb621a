"""Generated code: its size stays bounded, and odd corners of rows and outputs are read right."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from compiler.rules import emit_explain, emit_numpy, engine
from compiler.rules.explanation import explain
from compiler.rules.limits import MAX_DEPTH
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader
from compiler.schema import Feature, OutputSchema

FEATURES = {name: Feature(type="float", nullable=True) for name in "abc"}
CAREFUL = {"float": [3, 3.0, True, "3", 2**70, 10**400, math.nan, None, [], {}]}


def above(name, value):
    return {"field": name, "operator": ">", "value": value}


def table(*conditions, **more):
    rules = [
        {"id": f"r{i}", "antecedent": each, "consequent": {"type": "model", "model": "m"}}
        for i, each in enumerate(conditions)
    ]
    default = {"type": "reject", "reason": "none"}
    return {
        "$schema": "interlock/rules/v1",
        "conditions": rules,
        "defaultConsequent": default,
    } | more


def tower(depth):
    """Alternating XOR and AND, each of which reads the one below."""
    node = above("a", 0)
    for level in range(depth):
        word = "xor" if level % 2 else "and"
        node = {"combinator": word, "rules": [node, above("bc"[level % 2], level)], "not": True}
    return node


@pytest.mark.parametrize("on_unknown", ["fallthrough", "error"])
def test_nested_xor_takes_code_in_proportion_to_its_depth(on_unknown):
    sizes = []
    for depth in (8, 16, MAX_DEPTH - 4):
        rules = compile_rules(table(tower(depth), onUnknown=on_unknown), features=FEATURES)
        for each in ("chain", "index"):
            text = engine.scalar_source(rules.target, "dict", each).text
            sizes.append(len(text) / depth)
        for row in (
            {},
            {"a": 1.0},
            {"a": 1.0, "b": 3.0, "c": 40.0},
            {"a": -1.0, "b": 0.0, "c": 0.0},
        ):
            expected = rules.reference(row)[0]
            assert rules.scalar("dict", engine="chain")(row, None, 0) == expected
            assert rules.scalar("dict", engine="index")(row, None, 0) == expected
            assert rules.explain(row).index == expected
    assert max(sizes) < 4 * min(sizes)


def test_nested_xor_is_looked_at_once_by_the_vector_code(monkeypatch):
    turned = []
    whole = emit_numpy.push_negation
    monkeypatch.setattr(
        emit_numpy, "push_negation", lambda node, **way: turned.append(0) or whole(node, **way)
    )
    rules = compile_rules(table(tower(MAX_DEPTH - 4)), features=FEATURES)
    row = {"a": 1.0, "b": 3.0, "c": 40.0}
    columns = {name: np.array([value]) for name, value in row.items()}
    assert rules.numpy(columns, 1).tolist() == [rules.reference(row)[0]]
    assert len(turned) < 8 * MAX_DEPTH


@pytest.mark.parametrize("value", CAREFUL["float"])
@pytest.mark.parametrize("kind", ["float", "float32", "int"])
def test_value_of_another_type_is_read_as_the_reference_reads_it(kind, value):
    features = {"a": Feature(type=kind), "b": Feature(type=kind, nullable=True)}
    rules = compile_rules(
        table(above("a", 2), above("b", 2), {"field": "a", "operator": "null"}), features=features
    )
    for row in ({"a": value}, {"b": value}, {"a": value, "b": value}, {"a": 1, "b": value}):
        for each in ("chain", "index"):
            assert rules.scalar("dict", engine=each)(row, None, 0) == rules.reference(row)[0], row


def test_costly_tests_are_computed_once_and_only_when_reached():
    slow = {"field": "t", "operator": "matches", "value": "^a.*z$"}
    rules = compile_rules(
        table(*({"combinator": "and", "rules": [above("a", i), slow]} for i in range(5))),
        features=FEATURES | {"t": Feature(type="string")},
    )
    calls = []
    source = engine.scalar_source(rules.target, "dict", "chain")
    for name, constant in list(source.constants.items()):
        if getattr(constant, "__name__", "") == "search":
            source.constants[name] = lambda text, run=constant: calls.append(text) or run(text)
    route = engine.build_scalar(rules.target, "dict", source)
    assert route({"a": -1.0, "t": "abz"}, None, 0) == 5
    assert calls == []
    assert route({"a": 9.0, "t": "abc"}, None, 0) == 5
    assert calls == ["abc"]


def test_nan_of_an_output_is_seen():
    output = OutputSchema(task="regression")
    rules = compile_rules(
        {
            "$schema": "interlock/rules/v1",
            "kind": "decision",
            "conditions": [
                {"id": "n", "antecedent": {"field": "output.value", "operator": "isNaN"},
                 "consequent": {"type": "decision", "decision": "broken"}},
            ],
            "defaultConsequent": {"type": "decision", "decision": "fine"},
        },
        features=FEATURES, output=output, kind="decision",
    )  # fmt: skip
    row = SimpleNamespace(a=1.0, b=1.0, c=1.0)
    for each in ("chain", "index"):
        for binding, f in (("struct", row), ("dict", {"a": 1.0})):
            route = rules.scalar(binding, engine=each)
            assert [route(f, None, 0, (value,)) for value in (math.nan, 1.0)] == [0, 1]


def test_rules_beyond_those_kept_are_explained_alike(monkeypatch):
    monkeypatch.setattr(emit_explain, "MAX_LOOKS", 2)
    rules = compile_rules(table(*(above("a", 9 - i) for i in range(9))), features=FEATURES)
    for row in ({"a": 3.5}, {"a": None}):
        assert rules.explain(row) == explain(rules.flat, "fallthrough", Reader(rules.scope, row))


def test_rule_of_very_many_tests_is_explained_without_compiling_it(monkeypatch):
    many = {"combinator": "or", "rules": [above("abc"[i % 3], i) for i in range(700)]}
    rules = compile_rules(table(above("a", 5), many), features=FEATURES)
    compiled = []
    source = emit_explain.look_source

    def watched(step, features):
        compiled.append(step.path)
        return source(step, features)

    monkeypatch.setattr(emit_explain, "look_source", watched)
    for row in ({"a": 3.0}, {"b": 650.0, "c": None}, {}):
        found = rules.explain(row)
        assert found == explain(rules.flat, "fallthrough", Reader(rules.scope, row))
        assert len(found.rules[1].leaves) == 700
    assert compiled == ["r0"]
