"""The table that a single condition is judged in, and what each engine makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from compiler.errors import Problem, ProblemsError
from compiler.rules import domain
from compiler.rules.compiled import CompiledRules
from compiler.rules.pipeline import compile_rules
from compiler.schema import FeatureMap


def one_rule(
    antecedent: dict[str, Any], features: dict[str, Any]
) -> tuple[CompiledRules | None, tuple[Problem, ...]]:
    """A table of one rule, or why there is none."""
    table = {
        "$schema": "interlock/rules/v1",
        "conditions": [
            {
                "id": "case",
                "antecedent": antecedent,
                "consequent": {"type": "model", "model": "yes"},
            }
        ],
        "defaultConsequent": {"type": "model", "model": "no"},
    }
    try:
        return compile_rules(table, features=msgspec.convert(features, FeatureMap)), ()
    except ProblemsError as error:
        return None, error.problems


def routes_of(rules: CompiledRules, row: dict[str, Any], now_us: int = 0) -> dict[str, int]:
    """Index of the deciding leaf by each engine; a struct holds what a lenient decoder gives it."""
    whole = {name: row.get(name) for name in rules.features}
    decoded = {
        name: value if domain.is_nan(value) else domain.read_lenient(rules.features[name], value)
        for name, value in whole.items()
    }
    columns = {}
    for name, value in whole.items():
        columns[name] = np.empty(1, dtype=object)
        columns[name][0] = value
    return {
        "reference": rules.reference(row, now_us)[0],
        "dict": rules.scalar("dict")(whole, None, now_us),
        "struct": rules.scalar("struct")(SimpleNamespace(**decoded), None, now_us),
        "index": rules.scalar("dict", engine="index")(whole, None, now_us),
        "numpy": int(rules.numpy(columns, 1, now_us)[0]),
    }


def answers_of(
    rules: CompiledRules, row: dict[str, Any], now_us: int = 0
) -> dict[str, bool | None]:
    """Whether the one rule fires, by engine; None where it is UNKNOWN."""
    unknown = rules.reference(row, now_us)[1]
    return {
        engine: None if unknown and place else place == 0
        for engine, place in routes_of(rules, row, now_us).items()
    }
