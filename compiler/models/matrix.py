"""The matrix a pipeline is fitted on: business columns in the model's domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.models.values import column, is_categorical, model_features
from compiler.schema import FeatureMap


def to_matrix(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]], features: FeatureMap
) -> NDArray[Any]:
    """Columns to a matrix, in schema order, without protected and context features.

    Args:
        columns: values by feature name, equally long; an absent column is all MISSING.
        features: the schema.

    Returns:
        Shape (rows, model features). float32 when every feature is a number, else object with
        float32 values (NaN = MISSING) and ``str`` (``None`` = MISSING).

    Raises:
        ValueTypeError: a value is not of its feature's kind.
        ValueRangeError: a number does not fit float32.
    """
    used = model_features(features)
    rows = len(next(iter(columns.values()), ()))
    parts = [np.asarray(column(name, feature, columns, rows)) for name, feature in used.items()]
    if not any(is_categorical(feature) for feature in used.values()):
        return np.stack(parts, axis=1) if parts else np.empty((rows, 0), np.float32)
    matrix = np.empty((rows, len(parts)), dtype=object)
    for place, part in enumerate(parts):
        matrix[:, place] = part
    return matrix


def from_matrix(matrix: NDArray[Any], features: FeatureMap) -> dict[str, NDArray[Any]]:
    """The columns of a matrix by feature name: float32 for numbers, object for words."""
    return {
        name: matrix[:, place] if is_categorical(feature) else matrix[:, place].astype(np.float32)
        for place, (name, feature) in enumerate(model_features(features).items())
    }
