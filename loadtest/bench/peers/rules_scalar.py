"""Rule engines from the package index, one decision a call."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec

from loadtest.bench.rules_tables import Case, json_logic, plain, python_source

Decide = Callable[[Any], Any]
"""A prepared row to the index of the rule that decides."""
Prepared = tuple[Decide, list[Any]]
MOST_RULES = 400
"""Engines that walk their rules one by one are not asked about more."""


def python(case: Case) -> Prepared:
    """Hand-written ifs: what no engine can beat in this language."""
    space: dict[str, Any] = {}
    exec(python_source(case), space)  # noqa: S102 - our own table
    return space["route"], list(case.rows)


def datalogic(case: Case) -> Prepared:
    """datalogic-py with documents parsed beforehand, one call for the whole table."""
    library = importlib.import_module("datalogic_py")
    chain: list[Any] = []
    for place, rule in enumerate(case.rules):
        chain += (json_logic(rule), place)
    compiled = library.Engine().compile(
        msgspec.json.encode({"if": [*chain, len(case.rules)]}).decode()
    )
    handles = [library.DataHandle(msgspec.json.encode(row).decode()) for row in case.rows]
    decide: Decide = compiled.evaluate_data
    return decide, handles


def conditional(case: Case, *, both: str, either: str) -> str:
    """The whole table as one expression of nested ``? :``."""
    text = str(len(case.rules))
    for place in reversed(range(len(case.rules))):
        text = f"{plain(case.rules[place], both=both, either=either)} ? {place} : ({text})"
    return text


def zen_expression(case: Case) -> Prepared:
    """zen-engine's compiled expression: its fastest call, without decision tables or graphs."""
    library = importlib.import_module("zen")
    decide: Decide = library.compile_expression(conditional(case, both="and", either="or")).evaluate
    return decide, list(case.rows)


def zen(case: Case) -> Prepared:
    """zen-engine with a decision table whose cells are expressions; first hit decides."""
    library = importlib.import_module("zen")
    cells = [
        {"_id": str(place), "c": plain(rule), "r": str(place)}
        for place, rule in enumerate(case.rules)
    ]
    cells.append({"_id": "none", "c": "", "r": str(len(case.rules))})
    table = {
        "hitPolicy": "first",
        "inputs": [{"id": "c", "name": "c", "type": "expression"}],
        "outputs": [{"id": "r", "name": "r", "field": "route", "type": "expression"}],
        "rules": cells,
    }
    place = {"x": 0, "y": 0}
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in", "position": place},
        {"id": "t", "type": "decisionTableNode", "name": "t", "position": place, "content": table},
        {"id": "out", "type": "outputNode", "name": "out", "position": place},
    ]
    edges = [
        {"id": "a", "sourceId": "in", "targetId": "t", "type": "edge"},
        {"id": "b", "sourceId": "t", "targetId": "out", "type": "edge"},
    ]
    document = msgspec.json.encode({"nodes": nodes, "edges": edges}).decode()
    decision = library.ZenEngine().create_decision(document)
    return lambda row: decision.evaluate(row)["result"]["route"], list(case.rows)


def rule_engine(case: Case) -> Prepared:
    """rule-engine, one compiled rule after the other."""
    library = importlib.import_module("rule_engine")
    rules = [library.Rule(plain(rule)) for rule in case.rules]

    def decide(row: Any) -> int:
        for place, rule in enumerate(rules):
            if rule.matches(row):
                return place
        return len(rules)

    return decide, list(case.rows)


def cel(case: Case) -> Prepared:
    """common-expression-language (Rust), the whole table as one conditional expression."""
    library = importlib.import_module("cel")
    decide: Decide = library.compile(conditional(case, both="&&", either="||")).execute
    return decide, list(case.rows)


PEERS: dict[str, tuple[str, Callable[[Case], Prepared], int]] = {
    "datalogic-py": ("datalogic_py", datalogic, 4000),
    "zen-engine, decision": ("zen", zen, MOST_RULES),
    "zen-engine, expression": ("zen", zen_expression, 40),
    "rule-engine": ("rule_engine", rule_engine, MOST_RULES),
    "Rust CEL": ("cel", cel, 40),
}
"""Module, maker, and the number of rules it is asked about at most."""
