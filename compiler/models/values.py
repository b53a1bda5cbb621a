"""Business values to model numbers: one meaning for training, packaging and serving.

Numbers are rounded to float32 exactly once, here. MISSING (``None``, NaN) is NaN for numbers and
``None`` for categories. A date is its day number since 1970-01-01, a timestamp its seconds since
the epoch (as float32, so about two minutes of resolution), a bool is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.schema import CONTEXT_PREFIX, Feature, FeatureMap

EPOCH_DAY = 719_163  # date(1970, 1, 1).toordinal()
CATEGORICAL = ("string", "enum")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class ValueRangeError(AppError):
    """A number does not fit the model's float32 input."""

    code = "features.range"


class ValueTypeError(AppError):
    """A value is not of its feature's type."""

    code = "features.type"


class Coded(Struct, frozen=True):
    """A column of words as codes: what dictionary-encoded files and Arrow batches already are.

    Attributes:
        codes: shape (rows,), index into ``words``, -1 where MISSING.
        words: distinct words.
    """

    codes: NDArray[np.intp]
    words: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.codes)


def model_features(features: FeatureMap) -> FeatureMap:
    """The features that a model may see, in order: no context, nothing protected."""
    return {
        name: feature
        for name, feature in features.items()
        if not feature.protected and not name.startswith(CONTEXT_PREFIX)
    }


def is_categorical(feature: Feature) -> bool:
    """True for features that a model sees as words."""
    return feature.type in CATEGORICAL


def to_number(name: str, value: Any) -> float:
    """The float64 of one business value, NaN for ``None``; not yet rounded to float32.

    Raises:
        ValueTypeError: a text or another kind of object.
    """
    if value is None:
        return float("nan")
    if isinstance(value, int | float | Decimal | np.number | np.bool_):
        return float(value)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, date):
        return float(value.toordinal() - EPOCH_DAY)
    raise ValueTypeError(f"expected a number for {name}, got {type(value).__name__}", at=name)


def number_column(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float32]:
    """A column of numbers rounded to float32 once.

    Args:
        name: feature name, for errors.
        values: n business values, or an array of them.

    Returns:
        Shape (n,), float32, NaN where MISSING.

    Raises:
        ValueTypeError: a value is not a number, date or time.
        ValueRangeError: infinite, or beyond float32.
    """
    array = np.asarray(values) if isinstance(values, np.ndarray) else None
    if array is not None and array.dtype.kind in "fiub":
        wide = array.astype(np.float64)
    elif array is not None and array.dtype.kind == "M":
        whole_days = array.dtype == np.dtype("M8[D]")
        unit = array.astype("M8[D]" if whole_days else "M8[us]")
        wide = unit.astype(np.int64).astype(np.float64) / (1.0 if whole_days else 1e6)
        wide[np.isnat(array)] = np.nan
    else:
        wide = np.fromiter(
            (to_number(name, value) for value in values), np.float64, count=len(values)
        )
    beyond = np.abs(wide) > _FLOAT32_MAX  # NaN compares false: missing stays missing
    if beyond.any():
        with np.errstate(over="ignore"):
            rounded = wide.astype(np.float32)
        infinite = np.isinf(rounded)
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise ValueRangeError(
                f"expected a finite float32 for {name}, got {wide[row]!r}",
                at=f"row {row}, {name}",
            )
        return rounded
    return wide.astype(np.float32)


def word_column(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.object_]:
    """A column of categories as ``str``, ``None`` where MISSING.

    Raises:
        ValueTypeError: a value is neither text nor missing.
    """
    out = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        if type(value) is str:
            out[row] = value
        elif value is None or value != value:
            out[row] = None
        elif isinstance(value, str):  # numpy.str_ would not compare equal in every encoder
            out[row] = str(value)
        else:
            raise ValueTypeError(
                f"expected text for {name}, got {type(value).__name__}", at=f"row {row}, {name}"
            )
    return out


def column(
    name: str,
    feature: Feature,
    columns: Mapping[str, Sequence[Any] | NDArray[Any] | Coded],
    rows: int,
) -> NDArray[Any] | Coded:
    """One feature's column in the model's domain; an absent column is all MISSING."""
    values = columns.get(name)
    if isinstance(values, Coded):
        if not is_categorical(feature):
            raise ValueTypeError(f"expected numbers for {name}, got words", at=name)
        return values
    if is_categorical(feature):
        return np.full(rows, None, object) if values is None else word_column(name, values)
    if values is None:
        return np.full(rows, np.nan, np.float32)
    return number_column(name, values)
