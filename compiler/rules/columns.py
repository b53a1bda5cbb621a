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


def read_column(feature: Feature, array: Any, *, want_nan: bool = False) -> Column:
    """A received array in the domain of its feature; wrong-typed values are MISSING.

    Args:
        feature: what the column holds.
        array: any dtype, shape (rows,), objects may be None; an Arrow array; or an object with
            ``codes`` (shape (rows,), below 0 for MISSING) and the ``words`` they stand for.
        want_nan: also say where a float NaN was received.
    """
    if hasattr(array, "words"):
        return _recoded(feature, array.codes, array.words, want_nan=want_nan)
    if hasattr(array, "dictionary_encode"):
        return _arrow(feature, array, want_nan=want_nan)
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


def _recoded(feature: Feature, codes: Array, words: Any, *, want_nan: bool) -> Column:
    """A column that comes as codes already: its words are read once each."""
    nan = np.zeros(len(codes), bool) if want_nan else None
    if feature.type in ("int", "float", "float32"):  # texts are not numbers here
        return missing_column(feature, len(codes))
    values: list[Any] = []
    known: dict[Any, int] = {}
    places = []
    for word in words:
        value = domain.read_lenient(feature, word)
        if value is None:
            places.append(-1)
            continue
        place = known.setdefault(value, len(values))
        if place == len(values):
            values.append(value)
        places.append(place)
    if places == list(range(len(places))) and codes.dtype in (np.int32, np.int64):
        found = codes
    else:
        found = np.array([*places, -1], np.int32)[np.where(codes < 0, len(places), codes)]
    return Column(found, values=values, nan=nan)


def _arrow(feature: Feature, array: Any, *, want_nan: bool) -> Column:
    """An Arrow array: texts by their dictionary, numbers without a copy where nothing is null."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if _is_text(pa, kind):
        array = array.dictionary_encode()
        kind = array.type
    if pa.types.is_dictionary(kind) and not _is_text(pa, kind.value_type):
        return _arrow(feature, array.dictionary_decode(), want_nan=want_nan)
    if pa.types.is_dictionary(kind):
        indices = array.indices
        if indices.null_count:
            indices = indices.fill_null(-1)
        codes = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return _recoded(feature, codes, array.dictionary.to_pylist(), want_nan=want_nan)
    if pa.types.is_integer(kind) and array.null_count and feature.type == "int":
        present = array.is_valid().to_numpy(zero_copy_only=False)
        data = array.fill_null(0).to_numpy(zero_copy_only=False)
        return _both(read_column(feature, data, want_nan=want_nan), present)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return read_column(feature, array.to_numpy(zero_copy_only=False), want_nan=want_nan)
    return read_column(feature, np.array(array.to_pylist(), dtype=object), want_nan=want_nan)


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _both(column: Column, present: Array) -> Column:
    """The same column where values are present besides."""
    if column.present is not None:
        present = present & column.present
    return Column(column.data, present, nan=column.nan)


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
    listed = array.tolist()
    if feature.type != "int" and set(map(type, listed)) <= {float, type(None)}:
        return Column(_floats(feature, np.array(listed, dtype=np.float64)), nan=nan)
    read = [domain.read_lenient(feature, value) for value in listed]
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
    listed = array.tolist()
    if set(map(type, listed)) <= {str, type(None)}:
        return _words(feature, listed)
    found = np.empty(len(array), dtype=np.int32)
    for row, value in enumerate(listed):
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


def _words(feature: Feature, listed: list[str | None]) -> Column:
    """A column of nothing but texts: two look-ups of a dict per row."""
    distinct = dict.fromkeys(listed)
    distinct.pop(None, None)
    places = dict(zip(distinct, range(len(distinct)), strict=True))
    codes = np.fromiter(map({**places, None: -1}.__getitem__, listed), np.int32, len(listed))
    return _recoded(feature, codes, list(distinct), want_nan=False)


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
