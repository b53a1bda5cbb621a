"""The domain of each feature type: how a value of a row is read, one way for every evaluator.

A read value is an int (int64), float, Decimal, bool, str, date or aware datetime; MISSING is None.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import struct
from typing import Any

import msgspec
import numpy as np

from compiler.schema import Feature

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
NUMERIC = frozenset({"int", "float", "float32"})
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class WrongTypeError(Exception):
    """The value is not of the feature's type."""


def read(feature: Feature, value: Any) -> Any:
    """The value in the feature's domain, None for MISSING.

    Raises:
        WrongTypeError: another type, or outside the domain.
    """
    if value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
        if value is None:
            return None
    return _READERS[feature.type](feature, value)


def read_lenient(feature: Feature, value: Any) -> Any:
    """Like :func:`read`, a wrong-typed value is MISSING."""
    try:
        return read(feature, value)
    except WrongTypeError:
        return None


def is_nan(value: Any) -> bool:
    """True for a binary NaN as received, of any width."""
    return isinstance(value, float | np.floating) and math.isnan(value)


def round32(value: float) -> float:
    """Nearest float32, ties to even; beyond its range an infinity."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def parse_date(text: str) -> dt.date:
    """Calendar day of ``YYYY-MM-DD``.

    Raises:
        WrongTypeError: not such a text.
    """
    try:
        return msgspec.convert(text, dt.date)
    except msgspec.ValidationError:
        raise WrongTypeError from None


def parse_timestamp(text: str) -> dt.datetime:
    """Instant of an RFC 3339 text with offset, in UTC.

    Raises:
        WrongTypeError: not such a text, or without offset.
    """
    try:
        return _utc(msgspec.convert(text, dt.datetime))
    except msgspec.ValidationError:
        raise WrongTypeError from None


def to_decimal(feature: Feature, value: Any) -> decimal.Decimal:
    """Exact decimal with at most ``scale`` digits after the point.

    Raises:
        WrongTypeError: not a finite number, more digits, or beyond a scaled int64.
    """
    try:
        number = decimal.Decimal(repr(value) if isinstance(value, float) else value)
    except (decimal.InvalidOperation, ValueError, TypeError):
        raise WrongTypeError from None
    if not number.is_finite() or number.adjusted() > 18:
        raise WrongTypeError
    if number.is_zero():
        return decimal.Decimal(0)
    exponent = number.normalize(_WIDE).as_tuple().exponent
    assert isinstance(exponent, int)
    if -exponent > feature.scale or abs(number.scaleb(feature.scale, _WIDE)) > INT_MAX:
        raise WrongTypeError
    return number


_WIDE = decimal.Context(prec=60)


def _utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        raise WrongTypeError
    return value.astimezone(dt.UTC)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise WrongTypeError
    return value


def _is_nan(value: Any) -> bool:
    """True for NaN of either kind; comparing a signalling one raises."""
    return value.is_nan() if isinstance(value, decimal.Decimal) else bool(value != value)


def _read_int(feature: Feature, value: Any) -> int | None:
    value = _number(value)
    if not isinstance(value, int):
        if _is_nan(value):
            return None
        if not INT_MIN <= value <= INT_MAX + 1 or value != int(value):
            raise WrongTypeError  # bounds first: int() of Decimal('1e999999999') takes all memory
        value = int(value)
    if not INT_MIN <= value <= INT_MAX:
        raise WrongTypeError
    return int(value)


def _read_float(feature: Feature, value: Any) -> float | None:
    value = _number(value)
    if _is_nan(value):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        raise WrongTypeError from None
    if isinstance(value, decimal.Decimal) and value.is_finite() and math.isinf(number):
        raise WrongTypeError
    return number


def _read_float32(feature: Feature, value: Any) -> float | None:
    number = _read_float(feature, value)
    return None if number is None else round32(number)


def _read_decimal(feature: Feature, value: Any) -> decimal.Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | decimal.Decimal):
        raise WrongTypeError
    if isinstance(value, float | decimal.Decimal) and _is_nan(value):
        return None
    return to_decimal(feature, value)


def _read_bool(feature: Feature, value: Any) -> bool | None:
    if isinstance(value, float) and value != value:
        return None
    if not isinstance(value, bool):
        raise WrongTypeError
    return value


def _read_text(feature: Feature, value: Any) -> str | None:
    if isinstance(value, float) and value != value:
        return None
    if not isinstance(value, str):
        raise WrongTypeError
    return str(value)


def _read_date(feature: Feature, value: Any) -> dt.date | None:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, str):
        return parse_date(value)
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        raise WrongTypeError
    return value


def _read_timestamp(feature: Feature, value: Any) -> dt.datetime | None:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, str):
        return parse_timestamp(value)
    if not isinstance(value, dt.datetime):
        raise WrongTypeError
    return _utc(value)


_READERS = {
    "int": _read_int,
    "float": _read_float,
    "float32": _read_float32,
    "decimal": _read_decimal,
    "bool": _read_bool,
    "string": _read_text,
    "enum": _read_text,
    "date": _read_date,
    "timestamp": _read_timestamp,
}
