"""``+ - * / %`` with row values: only where float64 arithmetic is CEL's own answer."""

from __future__ import annotations

from typing import Any, cast

from compiler.rules import ast
from compiler.rules.cel import arith, values
from compiler.rules.cel.compare import EXACT
from compiler.rules.cel.results import (
    Age,
    CelError,
    Constant,
    Failed,
    Input,
    Result,
    Shifted,
)

_DOUBLE = frozenset({"double", "float32"})


def binary(op: str, left: Result, right: Result, at: str) -> Result:
    """``left op right``.

    Raises:
        CelError: int arithmetic that could leave float64, mixed types, or no arithmetic at all.
    """
    if isinstance(left, Constant) and isinstance(right, Constant):
        try:
            return Constant(arith.binary(op, left.value, right.value))
        except values.Failure as error:
            return Failed(str(error), at)
    times = _times(op, left, right)
    if times is not None:
        return times
    kinds = {_kind(left), _kind(right)}
    if kinds <= _DOUBLE and op != "%":
        return Input(
            ast.Arith(cast("ast.ArithOp", op), (_operand(left), _operand(right)), at), "double"
        )
    if kinds == {"int"} and op in ("+", "-", "*"):
        return _whole(op, left, right, at)
    if kinds == {"int"}:
        hint = "CEL divides whole numbers without remainder; declare the feature as float"
        raise CelError(f"expected doubles around {op}, got ints", at=at, hint=hint)
    raise CelError(
        f"expected two numbers of one CEL type around {op}, got {' and '.join(sorted(kinds))}",
        at=at,
        hint="write 2.0 for a double",
    )


def negative(value: Result, at: str) -> Result:
    """``-value``.

    Raises:
        CelError: of something that is no number.
    """
    if isinstance(value, Constant):
        try:
            return Constant(arith.negative(value.value))
        except values.Failure as error:
            return Failed(str(error), at)
    if _kind(value) in _DOUBLE:
        return Input(ast.Arith("-", (_operand(value),), at), "double")
    return binary("-", Constant(0), value, at)


def _times(op: str, left: Result, right: Result) -> Result | None:
    """``now - x``, ``x - now``, ``now + span`` and ``now - span``."""
    if _is_now(left) and op == "-" and isinstance(right, Input) and right.kind == "timestamp":
        return Age(right.operand, "last")
    if _is_now(right) and op == "-" and isinstance(left, Input) and left.kind == "timestamp":
        return Age(left.operand, "next")
    if op == "+" and _is_now(right):
        left, right = right, left
    if _is_now(left) and isinstance(right, Constant) and isinstance(right.value, values.Span):
        return Shifted(right.value.ns if op == "+" else -right.value.ns)
    return None


def _is_now(value: Result) -> bool:
    return isinstance(value, Input) and isinstance(value.operand, ast.Now)


def _whole(op: str, left: Result, right: Result, at: str) -> Input:
    sides = (_bounds(left), _bounds(right))
    if sides[0] is None or sides[1] is None:
        raise CelError(
            "expected ints with declared min and max in arithmetic, got one without",
            at=at,
            hint="CEL computes in int64, this language in float64; bounds show that both agree",
        )
    ends = [arith.PLAIN[op](a, b) for a in sides[0] for b in sides[1]]
    low, high = min(ends), max(ends)
    if max(abs(low), abs(high)) > EXACT:
        raise CelError("expected int arithmetic within 2**53, got bounds beyond it", at=at)
    operand = ast.Arith(cast("ast.ArithOp", op), (_operand(left), _operand(right)), at)
    return Input(operand, "int", (low, high))


def _kind(value: Result) -> str:
    if isinstance(value, Input):
        return value.kind
    if isinstance(value, Constant):
        return values.kind(value.value)
    return "another value"


def _bounds(value: Result) -> tuple[int, int] | None:
    if isinstance(value, Constant):
        number: Any = value.value
        return (number, number)
    return value.bounds if isinstance(value, Input) else None


def _operand(value: Result) -> ast.Operand:
    if isinstance(value, Input):
        return value.operand
    assert isinstance(value, Constant)
    return ast.Const(value.value)
