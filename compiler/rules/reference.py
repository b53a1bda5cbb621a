"""The meaning of the language, one row at a time: slow, obvious, and what every emitter must equal.

A condition is True, False or None (UNKNOWN). An operand is a value of its domain or None (MISSING).
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from compiler.rules import ast, domain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.schema import FeatureMap

    Row = Mapping[str, Any]


class Reader:
    """Reads one row: features in their domain, and the time of the request."""

    def __init__(self, features: FeatureMap, row: Row, now_us: int = 0) -> None:
        self.features = features
        self.row = row
        self.now = domain.EPOCH + dt.timedelta(microseconds=now_us)

    def field(self, name: str) -> Any:
        """Value in the feature's domain; None when absent, null, NaN or wrong-typed."""
        return domain.read_lenient(self.features[name], self.row.get(name))


def truth(node: ast.Condition, row: Reader) -> bool | None:
    """Kleene value of a checked condition on one row."""
    match node:
        case ast.And(of=parts):
            found = [truth(part, row) for part in parts]
            return False if False in found else (None if None in found else True)
        case ast.Or(of=parts):
            found = [truth(part, row) for part in parts]
            return True if True in found else (None if None in found else False)
        case ast.Xor(of=parts, negated=negated):
            found = [truth(part, row) for part in parts]
            return None if None in found else (found.count(True) % 2 == 1) != negated
        case ast.Not(of=part):
            inner = truth(part, row)
            return None if inner is None else not inner
        case ast.Truth(value=value):
            return value
        case ast.Presence(operand=operand, op=op, negated=negated):
            return _flip(_presence(operand, op, row), negated)
        case ast.Distinct(left=left, right=right, negated=negated):
            return bool(operand_value(left, row) != operand_value(right, row)) != negated
        case ast.Compare(left=left, op=op, right=right):
            return _compare(operand_value(left, row), op, operand_value(right, row))
        case _:
            value = operand_value(node.operand, row)
            return None if value is None else _one_value(node, value, row)


def operand_value(node: ast.Operand, row: Reader) -> Any:
    """Value of an operand, None for MISSING."""
    match node:
        case ast.Field(name=name):
            return row.field(name)
        case ast.Const(value=value):
            return value
        case ast.Now():
            return row.now
        case ast.Arith(op=op, args=args):
            return arithmetic(op, [operand_value(arg, row) for arg in args])


def arithmetic(op: ast.ArithOp, values: list[Any]) -> float | None:
    """Float64 arithmetic; None when MISSING or not finite."""
    present = [float(value) for value in values if value is not None]
    if op == "coalesce":
        return present[0] if present else None
    if len(present) < len(values):
        return None
    first, *rest = present
    if op == "+":
        result = first + rest[0]
    elif op == "-":
        result = first - rest[0] if rest else -first
    elif op == "*":
        result = first * rest[0]
    elif op == "/":
        result = first / rest[0] if rest[0] != 0 else math.nan
    elif op == "abs":
        result = abs(first)
    else:
        result = min(present) if op == "min" else max(present)
    return result if math.isfinite(result) else None


def _compare(left: Any, op: ast.CompareOp, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if op == "=":
        return bool(left == right)
    if op == "!=":
        return bool(left != right)
    if op == "<":
        return bool(left < right)
    if op == "<=":
        return bool(left <= right)
    return bool(left > right) if op == ">" else bool(left >= right)


def _one_value(
    node: ast.In | ast.Between | ast.Text | ast.Within | ast.Known, value: Any, row: Reader
) -> bool:
    match node:
        case ast.Known(value=known):
            return known
        case ast.In(values=values, negated=negated):
            return (value in values) != negated
        case ast.Between(low=low, high=high, negated=negated):
            return bool(low <= value <= high) != negated
        case ast.Within(direction=direction, span_us=span_us, negated=negated):
            age = (row.now - value) if direction == "last" else (value - row.now)
            span = dt.timedelta(microseconds=span_us)
            return bool(dt.timedelta(0) <= age <= span) != negated
        case ast.Text(op=op, value=pattern, negated=negated, ignore_case=ignore_case):
            return text_test(op, pattern, value, ignore_case=ignore_case) != negated


def text_test(op: ast.TextOp, pattern: str, value: str, *, ignore_case: bool) -> bool:
    """One string against one pattern, without negation."""
    if op == "matches":
        flags = re.IGNORECASE if ignore_case else 0
        return re.search(pattern, value, flags) is not None
    if ignore_case:
        pattern, value = pattern.casefold(), value.casefold()
    if op == "contains":
        return pattern in value
    return value.startswith(pattern) if op == "beginsWith" else value.endswith(pattern)


def _presence(operand: ast.Operand, op: ast.PresenceOp, row: Reader) -> bool | None:
    if op == "isNaN":
        raw = row.row.get(operand.name) if isinstance(operand, ast.Field) else None
        return domain.is_nan(raw)
    value = operand_value(operand, row)
    if op in ("null", "notNull"):
        return (value is None) == (op == "null")
    return None if value is None else (value == "") == (op == "isEmpty")


def _flip(value: bool | None, negated: bool) -> bool | None:
    return value if value is None else value != negated
