"""``+ - * / %`` of constants: 64-bit integers that refuse to wrap, doubles as IEEE has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from compiler.rules.cel import times, values
from compiler.rules.cel.values import Failure, Moment, Span, Uint

if TYPE_CHECKING:
    from collections.abc import Callable


def binary(op: str, left: Any, right: Any) -> Any:
    """Value of ``left op right``.

    Raises:
        Failure: overflow, division by zero, or types that do not go together.
    """
    kinds = values.kind(left), values.kind(right)
    if kinds[0] == kinds[1] and kinds[0] in ("int", "uint"):
        return _integer(PLAIN[op](int(left), int(right)), unsigned=kinds[0] == "uint")
    if kinds == ("double", "double") and op != "%":
        return _FLOAT[op](left, right)
    if op == "+" and kinds[0] == kinds[1] and kinds[0] in ("string", "bytes", "list"):
        return left + right
    if op in ("+", "-"):
        found = _time(op, left, right)
        if found is not None:
            return found
    raise Failure(f"{kinds[0]} {op} {kinds[1]} is not defined")


def negative(value: Any) -> Any:
    """``-value``.

    Raises:
        Failure: not an int, double or duration, or beyond 64 bits.
    """
    kind = values.kind(value)
    if kind == "int":
        return _integer(-value, unsigned=False)
    if kind == "double":
        return -value
    raise Failure(f"-{kind} is not defined")


def _integer(value: int, *, unsigned: bool) -> int:
    low, high = (0, values.UINT_MAX) if unsigned else (values.INT_MIN, values.INT_MAX)
    if not low <= value <= high:
        raise Failure(f"the result is outside {'uint' if unsigned else 'int'}")
    return Uint(value) if unsigned else value


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise Failure("division by zero")
    whole = abs(left) // abs(right)
    return whole if (left < 0) == (right < 0) else -whole


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise Failure("modulus by zero")
    return left - right * _quotient(left, right)


def _ratio(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _time(op: str, left: Any, right: Any) -> Moment | Span | None:
    sign = 1 if op == "+" else -1
    if isinstance(left, Moment) and isinstance(right, Span):
        return times.moment(left.ns + sign * right.ns)
    if isinstance(left, Span) and isinstance(right, Moment) and op == "+":
        return times.moment(left.ns + right.ns)
    if isinstance(left, Span) and isinstance(right, Span):
        return times.span(left.ns + sign * right.ns)
    if isinstance(left, Moment) and isinstance(right, Moment) and op == "-":
        return times.span(left.ns - right.ns)
    return None


PLAIN: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _quotient,
    "%": _remainder,
}
_FLOAT: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _ratio,
}
