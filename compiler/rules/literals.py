"""A literal as written to its feature's domain, exactly; what cannot be exact becomes a constant.

``x < 4.5`` on an int becomes ``x <= 4``; ``x = 4.5`` becomes "FALSE where present".
"""

from __future__ import annotations

import decimal
import math
from typing import Any

from compiler.rules import ast, domain
from compiler.rules.names import suggestion
from compiler.schema import Feature

FAMILY = {
    "int": "number",
    "float": "number",
    "float32": "number",
    "decimal": "decimal",
    "bool": "bool",
    "string": "text",
    "enum": "text",
    "date": "date",
    "timestamp": "timestamp",
}
ORDERED = frozenset({"number", "decimal", "date", "timestamp"})
_WORDS = {
    "int": "a number",
    "float": "a number",
    "float32": "a number",
    "decimal": "a number",
    "bool": "TRUE or FALSE",
    "string": "a text",
    "enum": "a text",
    "date": "a date 'YYYY-MM-DD'",
    "timestamp": "a time with offset such as '2024-05-01T00:00:00Z'",
}


class LiteralError(Exception):
    """A literal that does not fit; carries code, message and hint."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def compare(
    operand: ast.Operand, feature: Feature, op: ast.CompareOp, value: ast.Value, at: str
) -> ast.Compare | ast.Known:
    """A comparison with its literal in the domain of ``feature``.

    Raises:
        LiteralError: the literal is of another type or outside the domain.
    """
    if feature.type == "int":
        return _stepped(operand, op, _number(feature, value), 0, at)
    if feature.type == "decimal":
        return _stepped(operand, op, _decimal(feature, value), feature.scale, at)
    return ast.Compare(operand, op, ast.Const(exact(feature, value), at), at)


def exact(feature: Feature, value: ast.Value) -> Any:
    """The literal in the domain of a feature other than ``int`` and ``decimal``.

    Raises:
        LiteralError: the literal is of another type or outside the domain.
    """
    if feature.type in ("float", "float32"):
        try:
            number = float(_number(feature, value))
        except OverflowError:
            number = math.inf
        number = domain.round32(number) if feature.type == "float32" else number
        if not math.isfinite(number):
            raise LiteralError("rule.literal", f"expected a {feature.type}, got {value} beyond it")
        return number
    if feature.type == "bool" and not isinstance(value, bool):
        raise _mismatch(feature, value)
    if feature.type != "bool" and not isinstance(value, str):
        raise _mismatch(feature, value)
    if feature.type == "enum" and value not in feature.values:
        raise LiteralError(
            "rule.enum_value",
            f"expected one of {', '.join(repr(v) for v in feature.values[:12])}, got {value!r}",
            suggestion(str(value), feature.values),
        )
    if feature.type in ("date", "timestamp"):
        try:
            return domain.read(feature, value)
        except domain.WrongTypeError:
            raise _mismatch(feature, value) from None
    return value


def members(feature: Feature, values: tuple[ast.Value, ...]) -> tuple[Any, ...]:
    """Distinct literals in the domain, in order; what no value can equal is left out.

    Raises:
        LiteralError: a literal is of another type or outside the domain.
    """
    found: dict[Any, None] = {}
    for value in values:
        node = compare(ast.Field(""), feature, "=", value, "")
        if isinstance(node, ast.Compare) and isinstance(node.right, ast.Const):
            found[node.right.value] = None
    return tuple(found)


def reversed_bounds(feature: Feature, low: ast.Value, high: ast.Value) -> bool:
    """Whether two sound literals stand in the wrong order, before any rounding to a grid."""
    if feature.type == "int":
        return bool(_number(feature, low) > _number(feature, high))
    if feature.type == "decimal":
        return bool(_decimal(feature, low) > _decimal(feature, high))
    return bool(exact(feature, low) > exact(feature, high))


def _stepped(
    operand: ast.Operand, op: ast.CompareOp, value: Any, scale: int, at: str
) -> ast.Compare | ast.Known:
    """Comparison on a grid of step 10**-scale within a scaled int64."""
    scaled = decimal.Decimal(value).scaleb(scale, _WIDE)
    whole = scaled.to_integral_value(decimal.ROUND_FLOOR, _WIDE)
    off_grid = whole != scaled
    if off_grid and op in ("=", "!="):
        return ast.Known(operand, op == "!=", at)
    if off_grid:
        op = "<=" if op in ("<", "<=") else ">="
        whole = whole if op == "<=" else whole + 1
    if not domain.INT_MIN <= whole <= domain.INT_MAX:
        above = whole > 0
        return ast.Known(
            operand,
            {"<": above, "<=": above, ">": not above, ">=": not above, "=": False, "!=": True}[op],
            at,
        )
    literal: Any = (
        int(whole) if not isinstance(value, decimal.Decimal) else whole.scaleb(-scale, _WIDE)
    )
    return ast.Compare(operand, op, ast.Const(literal, at), at)


_WIDE = decimal.Context(prec=2000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def _number(feature: Feature, value: ast.Value) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(feature, value)
    return value


def _decimal(feature: Feature, value: ast.Value) -> decimal.Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _mismatch(feature, value)
    try:
        number = decimal.Decimal(repr(value) if isinstance(value, float) else value)
    except decimal.InvalidOperation:
        raise _mismatch(feature, value) from None
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise _mismatch(feature, value)
    return number


def type_word(value: object) -> str:
    """The type of a literal in the language's words."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float | decimal.Decimal):
        return "number"
    return "text"


def _mismatch(feature: Feature, value: ast.Value) -> LiteralError:
    hint = ""
    if isinstance(value, str) and feature.type in ("int", "float", "float32"):
        hint = "remove the quotes, or compare with a text feature"
    elif feature.type in ("string", "enum") and not isinstance(value, str):
        hint = "put the value in single quotes"
    shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:37] + "..."
    return LiteralError(
        "rule.type_mismatch",
        f"expected {_WORDS[feature.type]} ({feature.type}), got {type_word(value)} {shown}",
        hint,
    )
