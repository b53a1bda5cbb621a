"""What generated numpy code calls. Masks are bool arrays of shape (rows,), never wider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from compiler.rules.columns import Column

    Array = NDArray[Any]


def table(test: Callable[[Any, int], bool], column: Column, now_us: int) -> Array:
    """Answer per distinct value; one more entry, False, is where code -1 (MISSING) looks."""
    values = column.values or []
    found = np.zeros(len(values) + 1, dtype=bool)
    for code, value in enumerate(values):
        found[code] = test(value, now_us)
    found[-1] = test(None, now_us)
    return found


FEW = 3
"""Codes that are compared one by one; a gather costs about as much as so many."""


class Members(Struct, frozen=True):
    """Where a test holds, for the codes of one column.

    Attributes:
        answers: per distinct value, one more for MISSING at the end.
        codes: the codes with answer ``answer``, when they are few; None else.
        answer: what the few codes have.
    """

    answers: Array
    codes: tuple[int, ...] | None
    answer: bool


def members_of(answers: Array) -> Members:
    """Answers, with the shorter of the lists of those that hold and those that do not."""
    missing = len(answers) - 1
    for answer in (True, False):
        found = np.flatnonzero(answers == answer)
        if len(found) <= FEW:
            codes = tuple(-1 if code == missing else code for code in found.tolist())
            return Members(answers, codes, answer)
    return Members(answers, None, answer=True)


def members(found: Members, codes: Array) -> Array:
    """Mask of the rows whose value is among those where a test holds."""
    if found.codes is None:
        return found.answers[codes]
    if not found.codes:
        return np.full(len(codes), not found.answer)
    mask: Array = codes == found.codes[0]
    for code in found.codes[1:]:
        mask |= codes == code
    return mask if found.answer else ~mask


def by_row(test: Callable[..., bool], rows: int, now_us: int, columns: tuple[Column, ...]) -> Array:
    """Answer per row of a test that reads several columns."""
    lists = [_objects(column) for column in columns]
    if not lists:
        return np.full(rows, test((), now_us))
    return np.fromiter((test(v, now_us) for v in zip(*lists, strict=True)), bool, rows)


def _objects(column: Column) -> list[Any]:
    if column.values is not None:
        values = [*column.values, None]
        return [values[code] for code in column.data.tolist()]
    if column.present is not None:
        pairs = zip(column.data.tolist(), column.present.tolist(), strict=True)
        return [value if there else None for value, there in pairs]
    found: list[Any] = column.data.tolist()
    return found


def presence(column: Column) -> Array:
    """Mask of the rows of an int column that are not MISSING."""
    if column.present is None:
        return np.ones(len(column.data), dtype=bool)
    return column.present


def within(mask: Array, present: Array | None) -> Array:
    """The mask where values are present."""
    return mask if present is None else mask & present


def as_float(column: Column) -> Array:
    """Float64 with NaN for MISSING, of an int or decimal column."""
    if column.values is not None:
        values = np.array([*(float(value) for value in column.values), np.nan])
        return values[column.data]
    data = column.data.astype(np.float64)
    return data if column.present is None else np.where(column.present, data, np.nan)


def _finite(data: Any, rows: int) -> Array:
    data = np.broadcast_to(np.asarray(data, dtype=np.float64), (rows,))
    return np.where(np.isfinite(data), data, np.nan)


def _quiet(operation: Callable[..., Any]) -> Callable[..., Array]:
    def call(rows: int, *args: Any) -> Array:
        with np.errstate(all="ignore"):
            return _finite(operation(*args), rows)

    return call


def _quotient(left: Any, right: Any) -> Any:
    return np.where(np.asarray(right) == 0, np.nan, np.divide(left, right))


def _least(*args: Any) -> Any:
    found = args[0]
    for arg in args[1:]:
        found = np.minimum(found, arg)
    return found


def _greatest(*args: Any) -> Any:
    found = args[0]
    for arg in args[1:]:
        found = np.maximum(found, arg)
    return found


def first(rows: int, *args: Any) -> Array:
    """First value that is not NaN, per row."""
    found = np.broadcast_to(np.asarray(args[0], dtype=np.float64), (rows,))
    for arg in args[1:]:
        found = np.where(found == found, found, arg)
    return found


def exact_int_float(ufunc: Any, left: Array, right: Any) -> Array:
    """int64 against float64 without rounding either."""
    sign = _order(left, np.broadcast_to(np.asarray(right, dtype=np.float64), left.shape))
    found: Array = ufunc(sign, 0)
    return found


def exact_float_int(ufunc: Any, left: Any, right: Array) -> Array:
    """float64 against int64 without rounding either."""
    sign = _order(right, np.broadcast_to(np.asarray(left, dtype=np.float64), right.shape))
    found: Array = ufunc(0, sign)
    return found


def _order(whole: Array, real: Array) -> Array:
    """-1, 0 or 1 as ``whole`` lies to ``real``; NaN gives any of them."""
    with np.errstate(invalid="ignore"):
        floor = np.floor(real)
        inside = (floor >= -(2.0**63)) & (floor < 2.0**63)
        base = np.where(inside, floor, 0.0).astype(np.int64)
        sign = (whole > base).astype(np.int8) - (whole < base).astype(np.int8)
        sign = np.where((sign == 0) & (real > floor), np.int8(-1), sign)
        return np.where(inside, sign, np.where(real > 0, np.int8(-1), np.int8(1)))


VECTOR: dict[str, Any] = {
    "full": np.full,
    "empty": np.empty,
    "uint8": np.uint8,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "isin": np.isin,
    "members": members,
    "by_row": by_row,
    "presence": presence,
    "within": within,
    "as_float": as_float,
    "plus": _quiet(np.add),
    "minus": _quiet(np.subtract),
    "times": _quiet(np.multiply),
    "negative": _quiet(np.negative),
    "quotient": _quiet(_quotient),
    "magnitude": _quiet(np.abs),
    "least": _quiet(_least),
    "greatest": _quiet(_greatest),
    "first": first,
    "exact_int_float": exact_int_float,
    "exact_float_int": exact_float_int,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}
