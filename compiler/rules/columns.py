"""Columns of a batch in the shape that vector code reads.

Numbers are float64 arrays with NaN for MISSING, or int64 with a presence mask; every other type is
dictionary-coded: int32 codes (-1 for MISSING) into a short list of distinct values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from compiler.rules import domain
from compiler.schema import Feature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Column(Struct, frozen=True):
    """One feature of a batch.

    Attributes:
        data: float64, int64 or int32 codes, shape (rows,).
        present: mask for int64 columns with MISSING, else None.
        values: distinct values of a coded column, else None.
        nan: mask of NaN as received, only for features that a rule asks it of.
    """

    data: Array
    present: Array | None = None
    values: list[Any] | None = None
    nan: Array | None = None


def missing_column(feature: Feature, rows: int) -> Column:
    """A column in which every row is MISSING."""
    return read_column(feature, np.full(rows, None, dtype=object))


def read_column(feature: Feature, array: Array, *, want_nan: bool = False) -> Column:
    """A received array in the domain of its feature; wrong-typed values are MISSING.

    Args:
        feature: what the column holds.
        array: any dtype, shape (rows,); objects may be None.
        want_nan: also say where a float NaN was received.
    """
    array = np.asarray(array)
    nan = _nan_mask(array) if want_nan else None
    kind = array.dtype.kind
    if feature.type in ("float", "float32") and kind in "fiu":
        return Column(_floats(feature, array), nan=nan)
    if feature.type == "int" and kind in "iu":
        present = None if kind == "i" or array.dtype.itemsize < 8 else array <= domain.INT_MAX
        return Column(array.astype(np.int64, copy=False), present, nan=nan)
    if feature.type == "int" and kind == "f":
        return _ints_of_floats(array, nan)
    if kind == "M":
        array = _objects_of_times(array)
    if feature.type in ("int", "float", "float32"):
        return _numbers_of_objects(feature, array, nan)
    return _codes(feature, array)


def _floats(feature: Feature, array: Array) -> Array:
    if feature.type == "float32" and array.dtype != np.float32:
        with np.errstate(over="ignore"):
            array = array.astype(np.float64).astype(np.float32)
    return array.astype(np.float64, copy=False)


def _ints_of_floats(array: Array, nan: Array | None) -> Column:
    wide = array.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        present = (wide == np.floor(wide)) & (wide >= -(2.0**63)) & (wide < 2.0**63)
    return Column(np.where(present, wide, 0.0).astype(np.int64), present, nan=nan)


def _numbers_of_objects(feature: Feature, array: Array, nan: Array | None) -> Column:
    read = [domain.read_lenient(feature, value) for value in array.tolist()]
    if feature.type == "int":
        present = np.array([value is not None for value in read], dtype=bool)
        data = np.array([0 if value is None else value for value in read], dtype=np.int64)
        return Column(data, present, nan=nan)
    data = np.array([np.nan if value is None else value for value in read], dtype=np.float64)
    return Column(data, nan=nan)


def _codes(feature: Feature, array: Array) -> Column:
    codes: dict[Any, int] = {}
    raw: dict[Any, int] = {}
    values: list[Any] = []
    found = np.empty(len(array), dtype=np.int32)
    for row, value in enumerate(array.tolist()):
        key = (value.__class__, value)
        try:
            code = raw.get(key)
        except TypeError:  # a list or an object: wrong-typed
            found[row] = -1
            continue
        if code is None:
            read = domain.read_lenient(feature, value)
            code = -1 if read is None else codes.setdefault(read, len(codes))
            if code == len(values):
                values.append(read)
            raw[key] = code
        found[row] = code
    return Column(found, values=values)


def _nan_mask(array: Array) -> Array:
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype != object:
        return np.zeros(len(array), dtype=bool)
    flags = [isinstance(value, float | np.floating) and value != value for value in array.tolist()]
    return np.array(flags, dtype=bool)


def _objects_of_times(array: Array) -> Array:
    import datetime as dt

    days = np.datetime_data(array.dtype)[0] in ("D", "W", "M", "Y")
    unit = "datetime64[D]" if days else "datetime64[us]"
    found: list[Any] = array.astype(unit).tolist()
    if not days:
        found = [value.replace(tzinfo=dt.UTC) if value is not None else None for value in found]
    return np.array(found, dtype=object)
