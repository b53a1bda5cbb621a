"""Columns of an Arrow batch as rules, models and evidence read them, and the rows that do not fit.

A column means what the same values in JSON would mean, one request each: null is MISSING or the
feature's default, a value of a wrong type, an unknown word or a number out of its range makes the
row an error, or under the lenient policy MISSING where the feature may be.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from compiler.models.values import Coded, is_categorical
from compiler.rules import domain
from compiler.schema import CONTEXT_PREFIX, Feature, FeatureMap
from serving.check import check_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

ID, SUBJECT, SPLIT = "_id", "_subject", "_split_id"
RESERVED = (ID, SUBJECT, SPLIT)
CONTEXT_COLUMN = "_context."


class Inputs(Struct, frozen=True):
    """One batch, read.

    Attributes:
        rows: number of rows.
        rules: columns for rules.
        model: columns for models: arrays, or codes and words.
        problems: first problem of each row as ``code: words``, None for a row that fits.
        sound: whether every row fits.
    """

    rows: int
    rules: dict[str, Any]
    model: dict[str, Any]
    problems: NDArray[np.object_]
    sound: bool


def column_name(feature: str) -> str:
    """Name of the column that holds a feature."""
    if feature.startswith(CONTEXT_PREFIX):
        return CONTEXT_COLUMN + feature.removeprefix(CONTEXT_PREFIX)
    return feature


def read_inputs(batch: pa.RecordBatch, features: FeatureMap, *, lenient: bool = False) -> Inputs:
    """The feature columns of a batch; other columns are left alone.

    Cost: a pass over each numeric column, a look at each word of a dictionary; dates, timestamps
    and decimals are read value by value.
    """
    rows, names = batch.num_rows, set(batch.schema.names)
    rules: dict[str, Any] = {}
    model: dict[str, Any] = {}
    wrong: dict[str, NDArray[np.bool_]] = {}
    for name, feature in features.items():
        column = column_name(name)
        if column not in names:
            if feature.default is not None:
                rules[name] = model[name] = _constant(feature, rows)
            continue
        rules[name], model[name], bad = _read(batch.column(column), feature)
        if bad is not None and bad.any():
            wrong[name] = bad
    wanted = {name: _relaxed(each) for name, each in features.items()} if lenient else features
    problems = check_rows(model, rows, wanted)
    for name, bad in wrong.items():
        if not (lenient and features[name].nullable):
            problems[bad] = f"features.type: expected {features[name].type} for {name}"
    for name, feature in features.items():
        if feature.type in {"date", "timestamp"} and name in model and not feature.nullable:
            missing = np.asarray([value is None for value in model[name]], bool)
            free = np.asarray([problem is None for problem in problems.tolist()], bool)
            problems[missing & free] = f"features.missing: expected {name}, got none"
    sound = not np.not_equal(problems, None).any()  # type: ignore[call-overload]
    return Inputs(rows, rules, model, problems, sound)


def _relaxed(feature: Feature) -> Feature:
    """The lenient policy counts bounds and words; it refuses neither."""
    kind = "string" if feature.type == "enum" else feature.type
    return replace(feature, type=kind, values=(), min=None, max=None)


def _constant(feature: Feature, rows: int) -> Any:
    value = domain.read(feature, feature.default)
    if is_categorical(feature):
        return Coded(np.zeros(rows, np.intp), (str(value),))
    if feature.type in {"int", "float", "float32", "bool"}:
        return np.full(rows, value)
    return _objects([value] * rows)


def _objects(values: list[Any]) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _read(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_] | None]:
    """A column for rules, for models, and the rows whose value is of a wrong type."""
    if is_categorical(feature):
        return _words(array, feature)
    if feature.type in {"int", "float", "float32"}:
        return _numbers(array, feature)
    if feature.type == "bool":
        return _booleans(array, feature)
    return _values(array, feature)


def _missing(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_]]:
    """A column of another type: every value that is there is wrong."""
    rows = len(array)
    bad = array.is_valid().to_numpy(zero_copy_only=False)
    if is_categorical(feature):
        coded = Coded(np.full(rows, -1, np.intp), ())
        return coded, coded, bad
    return np.full(rows, np.nan), np.full(rows, np.nan), bad


def _words(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_] | None]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_null(kind):
        array = array.cast(pa.string())
    elif pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return _missing(array, feature)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    indices = array.indices.fill_null(-1) if array.indices.null_count else array.indices
    codes = indices.to_numpy(zero_copy_only=False).astype(np.intp, copy=False)
    words = array.dictionary.to_pylist()
    if None in words:
        places = np.asarray([*(-1 if w is None else at for at, w in enumerate(words)), -1])
        codes = places[codes]
        words = ["" if word is None else word for word in words]
    if feature.default is not None and (codes < 0).any():
        codes = np.where(codes < 0, len(words), codes)
        words.append(str(feature.default))
    coded = Coded(codes, tuple(words))
    return coded, coded, None


def _numbers(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_] | None]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _missing(array, feature)
    if feature.default is not None and array.null_count:
        array = array.fill_null(pa.scalar(feature.default).cast(array.type))
    numbers = array.to_numpy(zero_copy_only=False)  # null becomes NaN
    if numbers.dtype == np.float16:
        numbers = numbers.astype(np.float32)
    if array.null_count and pa.types.is_integer(array.type):
        return array, numbers, None  # rules compare whole numbers exactly, also beside nulls
    return numbers, numbers, None


def _booleans(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_] | None]:
    import pyarrow as pa

    if pa.types.is_null(array.type):
        array = array.cast(pa.bool_())
    if not pa.types.is_boolean(array.type):
        return _missing(array, feature)
    if feature.default is not None and array.null_count:
        array = array.fill_null(bool(feature.default))
    numbers = array.cast(pa.uint8()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array, numbers, None


def _values(array: pa.Array, feature: Feature) -> tuple[Any, Any, NDArray[np.bool_]]:
    """Dates, timestamps and decimals: value by value, texts as JSON would have them."""
    bad = np.zeros(len(array), bool)
    found = []
    default = None if feature.default is None else domain.read(feature, feature.default)
    for row, value in enumerate(array.to_pylist()):
        read = None
        if value is not None and value == value:
            read = domain.read_lenient(feature, _plain(value))
            bad[row] = read is None
        found.append(default if read is None else read)
    column = _objects(found)
    return column, column, bad


def _plain(value: Any) -> Any:
    """A decimal of Arrow without the zeros that its scale adds."""
    if isinstance(value, Decimal):
        short = value.normalize()
        return short.quantize(Decimal(1)) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]
    return value
