"""The two suites that public collections lack: every engine gives every written answer."""

import decimal
import json
import math
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from compiler.rules import domain
from compiler.rules.pipeline import compile_rules
from compiler.schema import FeatureMap

FOLDER = Path(__file__).parents[3] / "data" / "rules"


def lines(name):
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]


def decoded(value):
    """A value of a row; what JSON has no word for is an object of one key."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind == "float":
            return float(text)
        if kind == "decimal":
            return decimal.Decimal(text)
    return value


def typed(features, row):
    """The row as a strict decoder hands it on; None when it would refuse it."""
    found = {}
    for name, feature in features.items():
        value = row.get(name)
        nan = isinstance(value, float) and math.isnan(value)
        if value is not None and not (nan and feature.type in ("float", "float32")):
            try:
                value = domain.read(feature, value)
            except domain.WrongTypeError:
                return None
        if value is None and not feature.nullable:
            return None
        found[name] = value
    return found


def answers(rules, rows, now_us):
    """Engine and its leaf indices for all rows; None where an engine cannot take a row."""
    yield "reference", [rules.reference(row, now_us)[0] for row in rows]
    yield "explain", [rules.explain(row, now_us).index for row in rows]
    for engine in ("chain", "index"):
        route = rules.scalar("dict", engine=engine)
        yield f"dict {engine}", [route(row, None, now_us) for row in rows]
        route = rules.scalar("struct", engine=engine)
        structs = [typed(rules.features, row) for row in rows]
        yield f"struct {engine}", [bound(route, row, now_us) for row in structs]
    columns = {}
    for name in rules.features:
        columns[name] = np.empty(len(rows), dtype=object)
        columns[name][:] = [row.get(name) for row in rows]
    yield "numpy", rules.numpy(columns, len(rows), now_us).tolist()


def bound(route, row, now_us):
    if row is None:
        return None
    f = SimpleNamespace(**{n: v for n, v in row.items() if "." not in n})
    c = SimpleNamespace(**{n.partition(".")[2]: v for n, v in row.items() if "." in n})
    return route(f, c, now_us)


def named(rules, index):
    return rules.ids[index] if index >= 0 else f"error:{rules.ids[-1 - index]}"


def three_way(case):
    """A table that tells the value of a condition: it, then its opposite, then neither."""
    opposite = {"combinator": "and", "rules": [case["condition"]], "not": True}
    rules = [
        {"id": word, "antecedent": test, "consequent": {"type": "reject", "reason": word}}
        for word, test in (("T", case["condition"]), ("F", opposite))
    ]
    default = {"type": "reject", "reason": "U"}
    return {"$schema": "interlock/rules/v1", "conditions": rules, "defaultConsequent": default}


@pytest.fixture(scope="module")
def unknown_cases():
    """The cases of one condition together, so that it is compiled once."""
    together = {}
    for case in lines("unknown.jsonl"):
        key = json.dumps([case["condition"], case["features"]])
        together.setdefault(key, []).append(case)
    return list(together.values())


def test_unknown_suite_holds_in_every_engine(unknown_cases):
    wrong, engines = [], set()
    for cases in unknown_cases:
        features = msgspec.convert(cases[0]["features"], FeatureMap)
        rules = compile_rules(three_way(cases[0]), features=features)
        rows = [{n: decoded(v) for n, v in case["row"].items()} for case in cases]
        for engine, found in answers(rules, rows, 0):
            engines.add(engine)
            for case, index in zip(cases, found, strict=True):
                got = None if index is None else "TFU"[index]
                if got not in (None, case["value"]):
                    wrong.append((case["name"], engine, got, case["value"]))
    assert not wrong, wrong[:10]
    assert len(engines) == 7


def test_agree_suite_holds_in_every_engine():
    wrong, rows_seen = [], 0
    for case in lines("agree.jsonl"):
        rules = compile_rules(case["table"])
        rows = [{n: decoded(v) for n, v in row.items()} for row in case["rows"]]
        rows_seen += len(rows)
        for engine, found in answers(rules, rows, case["now_us"]):
            got = [None if index is None else named(rules, index) for index in found]
            wrong += [
                (case["name"], engine, row, one, expected)
                for row, one, expected in zip(rows, got, case["rules"], strict=True)
                if one not in (None, expected)
            ]
        unknown = [list(rules.reference(row, case["now_us"])[1]) for row in rows]
        wrong += [(case["name"], "unknown")] if unknown != case["unknown"] else []
    assert not wrong, wrong[:5]
    assert rows_seen > 500


def test_suites_hold_every_answer_and_kind_of_value():
    found = lines("unknown.jsonl")
    assert {case["value"] for case in found} == {"T", "F", "U"}
    assert len({case["name"] for case in found}) == len(found)
    types = {each["type"] for case in found for each in case["features"].values()}
    assert types == {
        "int", "float", "float32", "decimal", "bool", "string", "enum", "date", "timestamp",
    }  # fmt: skip
