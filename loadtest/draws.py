"""Rows drawn from a feature schema: values that a caller could send, near where rules decide.

Numbers mostly come from a bell inside their range and sometimes from its ends; where the rule
table compares a feature with literals, a third of the draws lie on and beside them, so that every
branch is taken. Words come with a few common and many rare values. Nullable features are missing
once in twenty rows. The same seed draws the same rows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.schema import CONTEXT_PREFIX

if TYPE_CHECKING:
    from compiler.schema import Feature, FeatureMap

_MISSING_SHARE = 0.05
_LITERAL_SHARE = 0.34
_EDGE_SHARE = 0.03


def draw_rows(
    features: FeatureMap, count: int, *, seed: int = 1, rules: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Request objects with features and, where declared, context.

    Args:
        features: the endpoint's schema.
        count: how many.
        seed: of the draws.
        rules: rule table whose literals the draws should visit.
    """
    rng = np.random.default_rng([seed, 3])
    literals = find_literals(features, rules)
    drawers = {name: literals.get(name, []) for name in features}
    rows = []
    for _ in range(count):
        row: dict[str, Any] = {"features": {}}
        for name, feature in features.items():
            if feature.nullable and rng.random() < _MISSING_SHARE:
                continue
            value = _draw(feature, drawers[name], rng)
            if name.startswith(CONTEXT_PREFIX):
                row.setdefault("context", {})[name.removeprefix(CONTEXT_PREFIX)] = value
            else:
                row["features"][name] = value
        rows.append(row)
    return rows


def find_literals(features: FeatureMap, rules: dict[str, Any] | None) -> dict[str, list[Any]]:
    """Numbers that a rule table compares each numeric feature with."""
    if not rules:
        return {}
    from compiler.errors import AppError
    from compiler.rules.pipeline import compile_rules

    try:
        table: Any = compile_rules(rules, features=features).table
    except AppError:
        return {}  # the draws are still valid rows, only less aimed
    found: dict[str, list[Any]] = {}
    _collect(table, found)
    return {name: sorted(set(values)) for name, values in found.items() if name in features}


def _collect(node: Any, found: dict[str, list[Any]]) -> None:
    """Pair the names and the numbers that stand in one comparison."""
    if isinstance(node, tuple | list):
        for part in node:
            _collect(part, found)
        return
    fields = getattr(node, "__struct_fields__", ())
    values = [getattr(node, field) for field in fields]
    names = [name for value in values for name in _names(value)]
    numbers = [number for value in values for number in _numbers(value)]
    if len(names) == 1 and numbers:
        found.setdefault(names[0], []).extend(numbers)
    for value in values:
        _collect(value, found)


def _names(value: Any) -> list[str]:
    name = getattr(value, "name", None)
    return [name] if isinstance(name, str) and hasattr(value, "__struct_fields__") else []


def _numbers(value: Any) -> list[int | float]:
    if hasattr(value, "value"):
        value = value.value
    parts = value if isinstance(value, tuple | list) else [value]
    plain = [getattr(part, "value", part) for part in parts]
    return [p for p in plain if isinstance(p, int | float) and not isinstance(p, bool)]


def _draw(feature: Feature, literals: list[Any], rng: np.random.Generator) -> Any:
    kind = feature.type
    if kind in {"int", "float", "float32", "decimal"}:
        return _number(feature, literals, rng)
    if kind == "bool":
        return bool(rng.random() < 0.5)
    if kind == "enum":
        return feature.values[_rank(len(feature.values), rng)]
    if kind == "string":
        return f"value-{_rank(50, rng)}"
    moment = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=float(rng.uniform(0, 3e7)))
    if kind == "date":
        return moment.date().isoformat()
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rank(count: int, rng: np.random.Generator) -> int:
    """An index from 0, falling off as 1/rank."""
    weights = 1.0 / np.arange(1, count + 1)
    return int(rng.choice(count, p=weights / weights.sum()))


def _number(feature: Feature, literals: list[Any], rng: np.random.Generator) -> Any:
    low = float(feature.min) if isinstance(feature.min, int | float) else None
    high = float(feature.max) if isinstance(feature.max, int | float) else None
    if low is None and high is None:
        top = max((abs(float(x)) for x in literals), default=100.0)
        low, high = 0.0, 2 * top
    elif low is None:
        low = min(0.0, high or 0.0) if high is None or high >= 0 else 2 * high
    elif high is None:
        top = max((float(x) for x in literals), default=low + 100.0)
        high = max(2 * top, low + 1)
    assert high is not None
    chance = rng.random()
    if literals and chance < _LITERAL_SHARE:
        step = 1 if feature.type == "int" else max((high - low) / 1000, 1e-9)
        value = float(literals[int(rng.integers(len(literals)))]) + step * int(rng.integers(-1, 2))
    elif chance > 1 - _EDGE_SHARE:
        value = low if rng.random() < 0.5 else high
    elif literals and (centre := float(np.median(literals))) > 0:
        value = centre * float(np.exp(rng.normal(0.0, 0.8)))  # incomes and amounts are skewed
    else:
        value = low + (high - low) * float(rng.beta(2.0, 4.0))
    value = min(max(value, low), high)
    if feature.type == "int":
        return min(max(round(value), int(np.ceil(low))), int(high))
    if feature.type == "decimal":
        return f"{value:.{feature.scale}f}"
    return float(np.float32(value)) if feature.type == "float32" else round(value, 6)
