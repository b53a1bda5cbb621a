"""Comparisons of row values with constants and with each other, exact on CEL's number line."""

from __future__ import annotations

import decimal
import math
import struct
from typing import Any, cast

from compiler.rules import ast, domain, limits
from compiler.rules.cel import ages, values
from compiler.rules.cel.results import (
    Age,
    CelError,
    Constant,
    Failed,
    Input,
    Length,
    Result,
    Shifted,
    Test,
)

MIRROR = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
EXACT = 2**53
"""Whole numbers up to here are doubles exactly."""
_NUMBERS = frozenset({"int", "double", "float32"})
_TEXT = {"==": "=", "!=": "!="}


def compare(left: Result, op: str, right: Result, at: str) -> Constant | Failed | Test:
    """``left op right`` of anything but conditions and choices.

    Raises:
        CelError: the subset cannot express it.
    """
    if isinstance(left, Constant) and isinstance(right, Constant):
        return constants(left.value, op, right.value, at)
    if isinstance(left, Constant | Shifted):
        left, op, right = right, MIRROR[op], left
    if isinstance(left, Length):
        return Test(_length(left, op, right, at), 2, 2)
    if isinstance(left, Age) or isinstance(right, Shifted):
        return Test(ages.compare(left, op, right, at), 4, 3)
    if isinstance(left, Input) and isinstance(right, Input):
        return Test(_inputs(left, op, right, at))
    if isinstance(left, Input) and isinstance(right, Constant):
        return _against(left, op, right.value, at)
    raise CelError(
        f"expected two values that {op} can compare, got something else",
        at=at,
        hint="compare a feature with a literal or with another feature",
    )


def constants(left: Any, op: str, right: Any, at: str) -> Constant | Failed:
    """A comparison that needs no row."""
    try:
        if op == "==":
            return Constant(values.equal(left, right))
        if op == "!=":
            return Constant(not values.equal(left, right))
        return Constant(values.ordered(left, op, right))
    except values.Failure as error:
        return Failed(str(error), at)


def member(item: Input, found: tuple[Any, ...], at: str) -> Test:
    """``item in [...]`` of literals."""
    kept: list[Any] = []
    for value in found:
        if value is None:
            raise CelError("expected values of one type, got null among them", at=at)
        test = _against(item, "==", value, at)
        assert isinstance(test, Test)
        node = test.condition
        if isinstance(node, ast.Compare) and isinstance(node.right, ast.Const):
            kept.append(node.right.value)
    return Test(ast.In(item.operand, tuple(kept), at=at))


def _inputs(left: Input, op: str, right: Input, at: str) -> ast.Condition:
    pair = {left.kind, right.kind}
    if "date" in pair or (len(pair) > 1 and not pair <= _NUMBERS):
        raise CelError(
            f"expected two features of one CEL type, got {left.kind} and {right.kind}", at=at
        )
    if op not in _TEXT and pair & {"bool", "string"}:
        raise _unordered(left, op, at)
    whole = left if left.kind == "int" else right
    if len(pair) > 1 and "int" in pair and not _within_doubles(whole):
        raise CelError(
            "expected an int with min and max within 2**53 against a double, got one without",
            at=at,
            hint="CEL rounds a larger int to a double before it compares",
        )
    return ast.Compare(left.operand, cast("ast.CompareOp", _TEXT.get(op, op)), right.operand, at)


def _within_doubles(item: Input) -> bool:
    return item.bounds is not None and max(map(abs, item.bounds)) <= EXACT


def _against(left: Input, op: str, value: Any, at: str) -> Constant | Failed | Test:
    if value is None:
        if op not in _TEXT:
            raise CelError(f"expected == or != with null, got {op}", at=at)
        return Test(ast.Presence(left.operand, "null" if op == "==" else "notNull", at=at))
    if left.kind in _NUMBERS or left.kind == "decimal":
        return Test(_number(left, op, value, at))
    if left.kind == "bool" and isinstance(value, bool):
        return Test(_bool(left, op, value, at))
    if left.kind == "timestamp" and isinstance(value, values.Moment):
        literal = ast.Const(ages.literal(value, at), at)
        return Test(
            ast.Compare(left.operand, cast("ast.CompareOp", _TEXT.get(op, op)), literal, at)
        )
    if left.kind == "string" and isinstance(value, str):
        if op not in _TEXT:
            raise _unordered(left, op, at)
        return Test(
            ast.Compare(left.operand, cast("ast.CompareOp", _TEXT[op]), ast.Const(value, at), at)
        )
    if left.kind == "date":
        raise CelError(
            "expected a type of CEL, got a date, which it does not have",
            at=at,
            hint="compare it in a rule of the text or JSON form",
        )
    raise CelError(
        f"expected a {left.kind} to compare with, got {values.kind(value)} {values.shown(value)}",
        code="rule.type_mismatch",
        at=at,
        hint="write timestamp('...') around a time" if left.kind == "timestamp" else "",
    )


def _unordered(left: Input, op: str, at: str) -> CelError:
    return CelError(f"expected == or != with a {left.kind} feature, got {op}", at=at)


def _bool(left: Input, op: str, value: bool, at: str) -> ast.Condition:
    """CEL orders false before true; a row has only those two."""
    false, true = (
        values.equal(own, value) == (op == "==") if op in _TEXT else values.ordered(own, op, value)
        for own in (False, True)
    )
    if false == true:
        return ast.Known(left.operand, true, at)
    return ast.Compare(left.operand, "=", ast.Const(true, at), at)


def _number(left: Input, op: str, value: Any, at: str) -> ast.Condition:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CelError(
            f"expected a number to compare with, got {values.kind(value)} {values.shown(value)}",
            code="rule.type_mismatch",
            at=at,
        )
    if isinstance(value, float) and math.isnan(value):
        return ast.Known(left.operand, op == "!=", at)
    if isinstance(value, float) and math.isinf(value):
        raise CelError(
            "expected a finite number to compare with, got an infinite one",
            at=at,
            hint="every finite value is on one side of it",
        )
    if isinstance(value, float) != (left.kind in ("double", "float32")) and abs(value) > EXACT:
        raise CelError(
            f"expected numbers of one CEL type beyond 2**53, got {left.kind} and {value!r}",
            at=at,
            hint="CEL rounds a larger int to a double before it compares",
        )
    if isinstance(left.operand, ast.Arith) and abs(value) > EXACT:
        message = f"expected a number within 2**53 beside arithmetic, got {value!r}"
        raise CelError(message, at=at)
    if left.kind == "decimal":
        if isinstance(value, float) and decimal.Decimal(value) != decimal.Decimal(repr(value)):
            raise CelError(
                f"expected a double that is exact in decimals, got {value!r}",
                at=at,
                hint="a decimal has no equal among CEL's types; write the rule in the text form",
            )
    elif left.kind != "int":
        return _float(left, op, value, at)
    plain = float(value) if isinstance(value, float) else int(value)
    symbol = cast("ast.CompareOp", _TEXT.get(op, op))
    return ast.Compare(left.operand, symbol, ast.Const(plain, at), at)


def _float(left: Input, op: str, value: float, at: str) -> ast.Condition:
    """Against a literal that may lie between two values of the feature's type."""
    near = _nearest_below(value, single=left.kind == "float32")
    symbol = cast("ast.CompareOp", _TEXT.get(op, op))
    if near == value:
        return ast.Compare(left.operand, symbol, ast.Const(near, at), at)
    if op in _TEXT:
        return ast.Known(left.operand, op == "!=", at)
    if not math.isfinite(near):
        return ast.Known(left.operand, op in (">", ">="), at)
    below: ast.CompareOp = "<=" if op in ("<", "<=") else ">"
    return ast.Compare(left.operand, below, ast.Const(near, at), at)


def _nearest_below(value: float, *, single: bool) -> float:
    """The greatest float64 or float32 at most ``value``; minus infinity beyond the range."""
    try:
        near = float(value)
    except OverflowError:
        near = math.copysign(math.inf, value)
    if single:
        near = domain.round32(near)
    if near > value:
        near = _step_down32(near) if single else math.nextafter(near, -math.inf)
    return near


def _step_down32(value: float) -> float:
    if math.isinf(value):
        return 3.4028234663852886e38
    if value == 0:
        return -1.401298464324817e-45
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    return float(struct.unpack("<f", struct.pack("<i", bits - 1 if value > 0 else bits + 1))[0])


def _length(left: Length, op: str, right: Result, at: str) -> ast.Condition:
    """``size(text)`` against a whole number, as a test for emptiness or a pattern."""
    size = right.value if isinstance(right, Constant) else None
    if isinstance(size, bool) or not isinstance(size, int):
        raise CelError("expected a whole number to compare a size with, got another value", at=at)
    if op in (">", "<="):
        op, size = (">=" if op == ">" else "<"), size + 1
    if op in ("<", "!="):
        return ast.Not(_length(left, ">=" if op == "<" else "==", Constant(size), at), at)
    if size > limits.MAX_REPEAT:
        raise CelError(f"expected a size up to {limits.MAX_REPEAT}, got {size}", at=at)
    if size < 0 or (size == 0 and op == ">="):
        return ast.Known(left.operand, op == ">=", at)
    if size == 0:
        return ast.Presence(left.operand, "isEmpty", at=at)
    if size == 1 and op == ">=":
        return ast.Presence(left.operand, "isNotEmpty", at=at)
    tail = r"\Z" if op == "==" else ""
    return ast.Text(left.operand, "matches", rf"\A[\s\S]{{{size}}}{tail}", at=at)
