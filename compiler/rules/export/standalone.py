"""What an exported table calls; copied in front of it, so it uses the standard library alone.

A condition is True, False or None (UNKNOWN); a value that is missing or of a wrong type is None.
"""

from __future__ import annotations

import math
import re
import struct
from bisect import bisect_right
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from typing import Any

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\Z",
    re.ASCII,
)
_WIDE = Context(prec=60)
_MASK = 0xFFFFFFFF


class UnknownRuleError(Exception):
    """A rule is UNKNOWN and the table says to stop; the argument is its id."""


def is_nan(value: Any) -> bool:
    """Whether a value is the binary NaN."""
    return isinstance(value, float) and math.isnan(value)


def read_int(value: Any) -> int | None:
    """A whole number of 64 bits; 3.0 is one, True is not."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value:
        return None
    if not -(2**63) <= value < 2**63 or value != int(value):
        return None
    return int(value)


def read_float(value: Any) -> float | None:
    """A number as float64."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    if isinstance(value, Decimal) and value.is_finite() and math.isinf(number):
        return None
    return None if number != number else number


def read_float32(value: Any) -> float | None:
    """A number rounded to float32; beyond its range an infinity."""
    number = read_float(value)
    if number is None:
        return None
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def read_decimal(value: Any, scale: int) -> Decimal | None:
    """An exact number with at most ``scale`` digits after the point."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        return None
    if not number.is_finite() or number.adjusted() > 18:
        return None
    if number.is_zero():
        return Decimal(0)
    exponent = number.normalize(_WIDE).as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > scale:
        return None
    return number if abs(number.scaleb(scale, _WIDE)) < 2**63 else None


def read_bool(value: Any) -> bool | None:
    """True or False."""
    return value if isinstance(value, bool) else None


def read_text(value: Any) -> str | None:
    """A text."""
    return value if isinstance(value, str) else None


def read_date(value: Any) -> date | None:
    """A day, or its text as 2024-05-01."""
    if isinstance(value, str):
        try:
            return date.fromisoformat(value) if _DATE.match(value) else None
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def read_timestamp(value: Any) -> datetime | None:
    """A time with offset, or its text as 2024-05-01T12:00:00Z."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if _TIME.match(value) else None
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return value.astimezone(timezone.utc)  # noqa: UP017 - the export also runs on older Pythons


def finite(value: float) -> float | None:
    """None for what is not finite."""
    return value if math.isfinite(value) else None


def calculate(op: str, *values: Any) -> float | None:
    """Float64 arithmetic; missing when an argument is or when the result is not finite."""
    present = [float(value) for value in values if value is not None]
    if op == "coalesce":
        return present[0] if present else None
    if len(present) < len(values):
        return None
    first, last = present[0], present[-1]
    if op == "+":
        return finite(first + last)
    if op == "-":
        return finite(first - last if len(present) > 1 else -first)
    if op == "*":
        return finite(first * last)
    if op == "/":
        return finite(first / last) if last != 0 else None
    if op == "abs":
        return finite(abs(first))
    return finite(min(present) if op == "min" else max(present))


def all_of(*values: bool | None) -> bool | None:
    """AND: False when one is, else None when one is."""
    return False if False in values else (None if None in values else True)


def any_of(*values: bool | None) -> bool | None:
    """OR: True when one is, else None when one is."""
    return True if True in values else (None if None in values else False)


def odd_of(*values: bool | None) -> bool | None:
    """XOR: whether an odd number is True; None when one is."""
    return None if None in values else values.count(True) % 2 == 1


def opposite(value: bool | None) -> bool | None:
    """NOT: None stays."""
    return None if value is None else not value


def compare(left: Any, op: str, right: Any) -> bool | None:
    """A comparison; None when a side is missing."""
    if left is None or right is None:
        return None
    if op in ("=", "!="):
        return bool((left == right) == (op == "="))
    if op in ("<", ">="):
        return bool((left < right) == (op == "<"))
    return bool((left > right) == (op == ">"))


def member(value: Any, values: tuple[Any, ...]) -> bool | None:
    """Whether a value is one of several; None when it is missing."""
    return None if value is None else value in values


def between(value: Any, low: Any, high: Any) -> bool | None:
    """Both ends included."""
    return None if value is None else bool(low <= value <= high)


def within(start: datetime | None, end: datetime | None, seconds: int) -> bool | None:
    """Whether ``end`` is 0 to ``seconds`` after ``start``; None when one is missing."""
    if start is None or end is None:
        return None
    return timedelta(0) <= end - start <= timedelta(seconds=seconds)


def text_test(value: str | None, op: str, part: str, ignore_case: bool = False) -> bool | None:
    """contains, beginsWith, endsWith or matches."""
    if value is None:
        return None
    if op == "matches":
        return re.search(part, value, re.IGNORECASE if ignore_case else 0) is not None
    if ignore_case:
        part, value = part.casefold(), value.casefold()
    if op == "contains":
        return part in value
    return value.startswith(part) if op == "beginsWith" else value.endswith(part)


def arm(unit: Any, key: str, ends: tuple[int, ...]) -> int:
    """Share of a unit: MurmurHash3 x86 32-bit over key and unit; the first when there is none."""
    if unit is None or unit == "":
        return 0
    if isinstance(unit, bool) or not isinstance(unit, str | int):
        raise TypeError(f"expected a text or a whole number, got {type(unit).__name__}")
    data = (key + str(unit)).encode()
    state, whole = 0, len(data) & ~3
    for place in range(0, len(data), 4):
        block = int.from_bytes(data[place : place + 4], "little") * 0xCC9E2D51 & _MASK
        block = (block << 15 | block >> 17) & _MASK
        state ^= block * 0x1B873593 & _MASK
        if place < whole:
            state = ((state << 13 | state >> 19) & _MASK) * 5 + 0xE6546B64 & _MASK
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
    return bisect_right(ends, (state ^ state >> 16) * ends[-1] >> 32)
