"""Elementary cells: finitely many values per feature that stand for all of them.

The literals that a table compares a feature with cut its domain into points and open intervals. A
test of that feature against literals has one value on a whole cell, so one representative of each
cell, and MISSING where the feature may be missing, shows everything the table can do. Tests that
are not of that kind (arithmetic, two features, text search, the clock) are *residual*: what cells
show of them is an example, never a proof.

Source: D. Calvanese et al., Semantics, Analysis and Simplification of DMN Decision Tables,
Information Systems 78 (2018); cells of one dimension as used there for boxes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import math
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules import ast, domain
from compiler.rules.check import field_names
from compiler.rules.explanation import leaves_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compiler.schema import Feature, FeatureMap


def is_residual(leaf: ast.Leaf) -> bool:
    """Whether a test is more than one feature against literals."""
    match leaf:
        case ast.Truth():
            return False
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return not (isinstance(left, ast.Field) and isinstance(right, ast.Const))
        case ast.In(operand=operand) | ast.Between(operand=operand) | ast.Known(operand=operand):
            return not isinstance(operand, ast.Field)
        case ast.Presence(operand=operand):
            return not isinstance(operand, ast.Field)
        case _:
            return True


def literals_of(leaf: ast.Leaf) -> list[Any]:
    """Literals that a test compares its feature with."""
    match leaf:
        case ast.Compare(right=ast.Const(value=value)) | ast.Distinct(right=ast.Const(value=value)):
            return [value]
        case ast.In(values=values):
            return list(values)
        case ast.Between(low=low, high=high):
            return [low, high]
        case ast.Text(value=value):
            return [value]
        case ast.Presence(op="isEmpty" | "isNotEmpty"):
            return [""]
    return []


def moments_of(leaf: ast.Leaf, now_us: int) -> list[Any]:
    """Points of time at which a test against the clock changes its value."""
    now = domain.EPOCH + dt.timedelta(microseconds=now_us)
    match leaf:
        case ast.Within(direction=direction, span_us=span_us):
            span = dt.timedelta(microseconds=span_us)
            with contextlib.suppress(OverflowError):  # longer ago than the calendar reaches
                return [now - span, now] if direction == "last" else [now, now + span]
            return [now]
        case ast.Compare(right=ast.Now()) | ast.Compare(left=ast.Now()):
            return [now]
    return []


def cells(
    conditions: Iterable[ast.Condition], scope: FeatureMap, now_us: int = 0
) -> dict[str, list[Any]]:
    """Representatives of every cell of every feature that the conditions read.

    Args:
        conditions: what tells requests apart.
        scope: every feature.
        now_us: time that examples of tests against the clock are made for.

    Returns:
        Values by feature in ascending order; None, for MISSING, comes last.
    """
    mentioned: dict[str, list[Any]] = defaultdict(list)
    for condition in conditions:
        for leaf in leaves_of(condition):
            for name in field_names(leaf):
                mentioned[name].extend(literals_of(leaf))
                if scope[name].type == "timestamp":
                    mentioned[name].extend(moments_of(leaf, now_us))
    return {name: _cells(scope[name], values) for name, values in mentioned.items()}


def _cells(feature: Feature, mentioned: list[Any]) -> list[Any]:
    found = _present(feature, mentioned)
    return [*found, None] if feature.nullable and feature.default is None else found


def _present(feature: Feature, mentioned: list[Any]) -> list[Any]:
    if feature.type == "bool":
        return [False, True]
    if feature.type == "enum":
        return list(feature.values)
    if feature.type == "string":
        known = sorted({value for value in mentioned if isinstance(value, str)})
        other = "other"
        while other in known:
            other += "_"
        return [*known, other]
    read = [domain.read_lenient(feature, value) for value in mentioned]
    return _ordered(feature, [value for value in read if value is not None])


def _ordered(feature: Feature, mentioned: list[Any]) -> list[Any]:
    """Points and intervals of an ordered domain, from its lower to its upper bound."""
    low, high = _bound(feature, feature.min), _bound(feature, feature.max)
    points = sorted({*mentioned, *(bound for bound in (low, high) if bound is not None)})
    points = [point for point in points if not isinstance(point, float) or math.isfinite(point)]
    if not points:
        return [_zero(feature)]
    found: list[Any] = []
    if low is None:
        found += _beyond(feature, points[0], -1)
    for left, right in pairwise(points):
        found.append(left)
        found += _between(feature, left, right)
    found.append(points[-1])
    if high is None:
        found += _beyond(feature, points[-1], 1)
    inside = [
        value
        for value in found
        if (low is None or value >= low) and (high is None or value <= high)
    ]
    return inside or found


def _bound(feature: Feature, value: Any) -> Any:
    return None if value is None else domain.read(feature, value)


def _zero(feature: Feature) -> Any:
    zeros: dict[str, Any] = {
        "int": 0,
        "decimal": decimal.Decimal(0),
        "date": dt.date(2000, 1, 1),
        "timestamp": dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
    }
    return zeros.get(feature.type, 0.0)


def _step(feature: Feature) -> Any:
    """Distance to a value that people would write."""
    steps: dict[str, Any] = {
        "int": 1,
        "decimal": decimal.Decimal(1).scaleb(-feature.scale),
        "date": dt.timedelta(days=1),
        "timestamp": dt.timedelta(microseconds=1),
    }
    return steps.get(feature.type, 1.0)


def _beyond(feature: Feature, point: Any, sign: int) -> list[Any]:
    """A value below (-1) or above (1) every literal, where the domain has one."""
    try:
        value = point + sign * _step(feature)
    except OverflowError:
        return []
    if feature.type == "int" and not domain.INT_MIN <= value <= domain.INT_MAX:
        return []
    if feature.type in ("float", "float32"):
        if feature.type == "float32":
            value = domain.round32(value)
        if value == point:
            value = _next(feature, point, sign * math.inf)
        return [value] if math.isfinite(value) else []
    return [value]


def _between(feature: Feature, left: Any, right: Any) -> list[Any]:
    """A value strictly between two literals, where the domain has one."""
    if feature.type in ("float", "float32"):
        middle = left + (right - left) / 2
        if feature.type == "float32":
            middle = domain.round32(middle)
        if not left < middle < right:
            middle = _next(feature, left, math.inf)
        return [middle] if left < middle < right else []
    middle = left + _step(feature)
    if feature.type == "int":
        middle = max(middle, (left + right) // 2)
    return [middle] if left < middle < right else []


def _next(feature: Feature, value: float, toward: float) -> float:
    if feature.type == "float32":
        return float(np.nextafter(np.float32(value), np.float32(toward)))
    return math.nextafter(value, toward)
