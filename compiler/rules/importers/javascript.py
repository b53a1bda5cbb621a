"""How JsonLogic's engines compare literals: JavaScript's coercions, where its dialects agree."""

from __future__ import annotations

import math
import re
from typing import Any

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


class DialectError(Exception):
    """Engines of JsonLogic disagree, or the value has no coercion that can be relied on."""


def is_number(value: Any) -> bool:
    """A JSON number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def truthy(value: Any) -> bool:
    """JsonLogic's truthiness: null, false, 0, "" and [] are false."""
    if isinstance(value, dict):
        raise DialectError("objects")
    return bool(value)


def to_number(value: Any) -> float:
    """JavaScript's ``Number(value)``; NaN is where dialects part."""
    if value is None:
        return 0.0
    if isinstance(value, bool | int | float):
        number = float(value)
    elif isinstance(value, str):
        text = value.strip()
        if text and not _DECIMAL.match(text):
            raise DialectError(f"a text that is no number, {value[:20]!r}")
        number = float(text or "0")
    else:
        raise DialectError("a list or object")
    if not math.isfinite(number) or abs(number) > 2**53:
        raise DialectError("a number that doubles do not hold exactly")
    return number


def compare(op: str, left: Any, right: Any) -> bool:
    """``left op right`` of two literals.

    Raises:
        DialectError: engines disagree about it.
    """
    if op in ("!=", "!=="):
        return not compare("==" if op == "!=" else "===", left, right)
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        raise DialectError("a list or object")
    if op == "===":
        return _kind(left) == _kind(right) and left == right
    if op == "==":
        return loose_equal(left, right)
    if isinstance(left, str) and isinstance(right, str):
        a: Any = left.encode("utf-16-be", "surrogatepass")
        b: Any = right.encode("utf-16-be", "surrogatepass")
    else:
        a, b = to_number(left), to_number(right)
    if op == "<":
        return bool(a < b)
    if op == "<=":
        return bool(a <= b)
    return bool(a > b) if op == ">" else bool(a >= b)


def loose_equal(left: Any, right: Any) -> bool:
    """``==``: equal after coercion to numbers; null equals null, and beside 0 engines differ."""
    if _kind(left) == _kind(right):
        return bool(left == right)
    if left is None or right is None:
        other = right if left is None else left
        if other in (0, "") or (isinstance(other, str) and _is_zero(other)):
            raise DialectError("null beside 0, false or an empty text")
        return False
    return to_number(left) == to_number(right)


def _is_zero(text: str) -> bool:
    text = text.strip()
    return not text or (_DECIMAL.match(text) is not None and float(text) == 0)


def _kind(value: Any) -> str:
    return "number" if is_number(value) else type(value).__name__
