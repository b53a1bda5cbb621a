"""A snapshot as matrices: what a model sees, what it shall answer, and the split between them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from compiler.models.matrix import to_matrix
from compiler.schema import FeatureMap
from control_plane.datasets.errors import DataError
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.schemas import SnapshotManifest

MIN_PER_CLASS = 2


class TrainingData(Struct, frozen=True):
    """A snapshot in memory.

    Attributes:
        features: schema of a model of this data: excluded columns are gone, protected ones are
            listed (optional in requests, never in the matrix).
        matrix: shape (rows, model features), as :func:`compiler.models.matrix.to_matrix` makes it.
        target: words (classification), float64 (regression); None for clustering.
        protected: values of protected columns, for fairness only.
    """

    manifest: SnapshotManifest
    features: FeatureMap
    matrix: NDArray[Any]
    target: NDArray[Any] | None
    protected: dict[str, NDArray[Any]]


class Split(Struct, frozen=True):
    """Row numbers that training sees, and those it never sees."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def load(files: SnapshotFiles, digest: str, exclude: tuple[str, ...] = ()) -> TrainingData:
    """Read a verified snapshot; rows without a target are left out.

    Raises:
        DataError: it is lost, or was changed.
    """
    manifest, path = files.open(digest)
    gone = {*manifest.excluded, *exclude}
    features = {
        name: msgspec.structs.replace(feature, nullable=True) if feature.protected else feature
        for name, feature in manifest.features.items()
        if name not in gone
    }
    table = pq.read_table(path)
    target = None
    if manifest.target is not None:
        table = table.filter(table[manifest.target].is_valid())
        if not len(table):
            raise DataError("no row has a target", code="target.empty")
        kind = str if manifest.task == "classification" else np.float64
        target = np.asarray(table[manifest.target].to_pylist(), dtype=kind)
    columns = {name: values_of(table[name]) for name in features}
    matrix = to_matrix(columns, features)
    protected = {name: columns[name] for name, f in features.items() if f.protected}
    return TrainingData(manifest, features, matrix, target, protected)


def values_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """An Arrow column as numpy: numbers with NaN, days, times, or words with None."""
    kind = column.type
    whole = column.combine_chunks()
    if pa.types.is_string(kind):
        return np.asarray(whole.to_pylist(), dtype=object)
    if pa.types.is_boolean(kind):
        whole = whole.cast(pa.int8())
    elif pa.types.is_timestamp(kind):
        whole = whole.cast(pa.timestamp("us"))
    values: NDArray[Any] = whole.to_numpy(zero_copy_only=False)
    return values


def split_rows(target: NDArray[Any] | None, rows: int, fraction: float, seed: int,
               *, stratify: bool) -> Split:  # fmt: skip
    """A seeded random split that keeps the shares of the classes.

    Args:
        target: shape (rows,); classes when ``stratify``.
        rows: how many.
        fraction: share of the test rows.
        seed: the same seed gives the same split, on every machine.
        stratify: split each class by itself.

    Raises:
        DataError: a class has too few rows for both sides.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    if target is None or not stratify:
        order = random.permutation(rows)
        size = max(1, round(rows * fraction))
        return Split(np.sort(order[size:]), np.sort(order[:size]))
    train, test = [], []
    for label in np.unique(target):
        places = random.permutation(np.flatnonzero(target == label))
        if len(places) < 2 * MIN_PER_CLASS:
            raise DataError(
                f"expected at least {2 * MIN_PER_CLASS} rows of class {label!r}, got {len(places)}",
                code="target.rare",
            )
        size = min(max(MIN_PER_CLASS, round(len(places) * fraction)), len(places) - MIN_PER_CLASS)
        test.append(places[:size])
        train.append(places[size:])
    return Split(np.sort(np.concatenate(train)), np.sort(np.concatenate(test)))
