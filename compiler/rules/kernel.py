"""What generated code calls for the rare constructs; MISSING is NaN among numbers, else None."""

from __future__ import annotations

import datetime as dt
import math
import struct
from typing import Any

from compiler.rules import domain
from compiler.schema import Feature

NAN = math.nan


def number_reader(feature: Feature) -> Any:
    """Reads a value of a row into the domain, NaN for MISSING."""

    def read(value: Any) -> Any:
        found = domain.read_lenient(feature, value)
        return NAN if found is None else found

    return read


def value_reader(feature: Feature) -> Any:
    """Reads a value of a row into the domain, None for MISSING."""

    def read(value: Any) -> Any:
        return domain.read_lenient(feature, value)

    return read


def plain(value: Any) -> float:
    """A number as float64, NaN for MISSING (None or NaN)."""
    return NAN if value is None else float(value)


def finite(value: float) -> float:
    """NaN for what is not finite."""
    return value if math.isfinite(value) else NAN


def divide(left: float, right: float) -> float:
    """Quotient; NaN after a division by zero."""
    return finite(left / right) if right != 0 else NAN


def least(*values: float) -> float:
    """Smallest, NaN when one is."""
    return NAN if any(value != value for value in values) else finite(min(values))


def greatest(*values: float) -> float:
    """Largest, NaN when one is."""
    return NAN if any(value != value for value in values) else finite(max(values))


def coalesce(*values: float) -> float:
    """First that is not NaN."""
    return next((value for value in values if value == value), NAN)


def distinct(left: Any, right: Any) -> bool:
    """Null-safe inequality; NaN and None are both MISSING."""
    if left is None or left != left:
        return not (right is None or right != right)
    return bool(left != right)


def least_of(*values: bool | None) -> bool | None:
    """AND over three values."""
    return False if False in values else (None if None in values else True)


def greatest_of(*values: bool | None) -> bool | None:
    """OR over three values."""
    return True if True in values else (None if None in values else False)


def parity(*values: bool | None) -> bool | None:
    """XOR over three values: TRUE where an odd number is."""
    return None if None in values else values.count(True) % 2 == 1


def instant(now_us: int) -> dt.datetime:
    """Aware UTC time of microseconds since 1970."""
    return domain.EPOCH + dt.timedelta(microseconds=now_us)


_SINGLE = struct.Struct("f")

NAMESPACE: dict[str, Any] = {
    "NAN": NAN,
    "pack32": _SINGLE.pack,
    "unpack32": _SINGLE.unpack,
    "round32": domain.round32,
    "least_of": least_of,
    "greatest_of": greatest_of,
    "parity": parity,
    "is_nan": domain.is_nan,
    "plain": plain,
    "finite": finite,
    "divide": divide,
    "least": least,
    "greatest": greatest,
    "coalesce": coalesce,
    "distinct": distinct,
    "instant": instant,
    "timedelta": dt.timedelta,
}
