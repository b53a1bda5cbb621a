"""Columns to the float32 matrix of the lowered graph, many rows at a time.

This is the plain, vectorised meaning of :class:`compiler.models.encoding.Encoding`. The generated
one-row encoder of the serving engine is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.encoding import Encoding, Numeric, OneHot, Table
from compiler.models.values import Coded, is_categorical
from compiler.models.values import column as feature_column
from compiler.schema import FeatureMap

Columns = Mapping[str, Sequence[Any] | NDArray[Any] | Coded]


class UnseenCategoryError(AppError):
    """The model was fitted to refuse a category that it has not seen."""

    code = "features.enum"


class MissingValueError(AppError):
    """The model was fitted to refuse a missing value here."""

    code = "features.missing"


def encode_columns(
    columns: Columns, rows: int, encoding: Encoding, features: FeatureMap
) -> NDArray[np.float32]:
    """The model matrix of ``rows`` rows.

    Args:
        columns: business values by feature name; an absent one is all MISSING.
        rows: number of rows.
        encoding: the lowering spec.
        features: the schema the encoding refers to.

    Returns:
        Shape (rows, encoding.width), float32, C order.

    Raises:
        ValueTypeError, ValueRangeError: a value does not fit its feature.
        UnseenCategoryError, MissingValueError: where the fitted encoder refuses too.
    """
    out = np.zeros((rows, encoding.width), np.float32)
    start = 0
    read: dict[str, NDArray[Any] | Coded] = {}
    for part in encoding.columns:
        name = part.feature
        if name not in read:
            read[name] = feature_column(name, features[name], columns, rows)
        values = read[name]
        if isinstance(part, Numeric):
            assert not isinstance(values, Coded)
            if part.missing is not None:
                values = np.where(np.isnan(values), np.float32(part.missing), values)
            out[:, start] = values
        else:
            index = _indices(part, values, categorical=is_categorical(features[name]))
            out[:, start : start + part.width] = look_up(part)[index]
        start += part.width
    return out


def look_up(part: OneHot | Table) -> NDArray[np.float32]:
    """Rows of slots for every value, then for MISSING, then for an unseen value.

    Returns:
        Shape (values + 2, width); a refused case is all NaN.
    """
    count = len(part.values)
    table = np.zeros((count + 2, part.width), np.float32)
    if isinstance(part, OneHot):
        for row, slot in enumerate((*part.hot, part.missing, part.unseen)):
            if slot is None:
                table[row] = np.nan
            elif slot >= 0:
                table[row, slot] = 1.0
        return table
    for row, floats in enumerate((*part.rows, part.missing, part.unseen)):
        table[row] = (
            np.nan if floats is None else [np.nan if item is None else item for item in floats]
        )
    return table


def _indices(
    part: OneHot | Table, values: NDArray[Any] | Coded, *, categorical: bool
) -> NDArray[np.intp]:
    """Row of the look-up table for each value; refuses what the encoder refuses."""
    count = len(part.values)
    known: dict[Any, int] = {value: index for index, value in enumerate(part.values)}
    missing, unseen = count, count + 1
    if isinstance(values, Coded):
        words = [*(known.get(word, unseen) for word in values.words), missing]
        index = np.asarray(words, np.intp)[values.codes]  # code -1 is the last entry: missing
    elif categorical:
        known[None] = missing
        index = np.fromiter((known.get(v, unseen) for v in values), np.intp, count=len(values))
    else:
        index = np.fromiter(
            (missing if v != v else known.get(v, unseen) for v in values.tolist()),
            np.intp,
            count=len(values),
        )
    if part.missing is None and (hit := np.flatnonzero(index == missing)).size:
        raise MissingValueError(
            f"expected a value for {part.feature}, got none", at=f"row {hit[0]}, {part.feature}"
        )
    if part.unseen is None and (hit := np.flatnonzero(index == unseen)).size:
        raise UnseenCategoryError(
            f"expected a category of {part.feature} seen in training, got "
            f"{_shown(values, int(hit[0]))}",
            at=f"row {hit[0]}, {part.feature}",
        )
    return index


def _shown(values: NDArray[Any] | Coded, row: int) -> str:
    value = values.words[values.codes[row]] if isinstance(values, Coded) else values[row]
    return repr(value)[:80]
