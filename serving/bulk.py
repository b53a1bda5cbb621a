"""Many rows: Arrow record batches in, record batches out, in order, in constant memory.

Each batch is routed by a vectorised rule function, its rows are split by route, scored together
per model and put back in order. A row that cannot be answered carries its error and the rest go
on. Streams, bulk jobs and the command line all use this one function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.values import Coded, is_categorical
from compiler.schema import Feature, FeatureMap
from serving.check import check_rows
from serving.types import Outputs

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.engine import LoadedModel

CHUNK_ROWS = 16_384  # bounds memory whatever the size of the incoming batches
Choose = Callable[[Mapping[str, Any], int], NDArray[np.integer[Any]]]


_encoder = msgspec.json.Encoder()


class BulkRoute(Struct, frozen=True):
    """Where a rule sends rows; ``model`` is ``None`` for a reject."""

    rule: str
    model: LoadedModel | None


class BulkPlan(Struct, frozen=True):
    """How rows are routed.

    Attributes:
        features: the endpoint's schema.
        routes: destinations; ``choose`` answers indices into them.
        choose: (columns, rows) to route index per row; ``None`` sends all to the first.
        strict: rows that do not fit the schema get their error instead of an answer.
    """

    features: FeatureMap
    routes: tuple[BulkRoute, ...]
    choose: Choose | None = None
    strict: bool = True


class _Answers(Struct):
    """Answer columns of one chunk, filled route by route."""

    labels: NDArray[np.object_]
    values: NDArray[np.float64]
    outputs: NDArray[np.object_]
    errors: NDArray[np.object_]


def predict_batches(
    batches: Iterable[pa.RecordBatch], plan: BulkPlan, *, first_row: int = 0
) -> Iterator[pa.RecordBatch]:
    """Score every row of every batch.

    Args:
        batches: columns by feature name (others are ignored; a column ``_id`` is passed on).
        plan: routes and models.
        first_row: number of the first row.

    Yields:
        Batches of ``row, id, rule, model, version, label, value, outputs, error``: one row per
        input row, in order. ``outputs`` is JSON; ``error`` is ``code: message`` or null.
    """
    row = first_row
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            part = batch.slice(start, CHUNK_ROWS)
            yield _predict(part, plan, row)
            row += part.num_rows


def arrow_columns(batch: pa.RecordBatch, features: FeatureMap) -> dict[str, Any]:
    """The batch's feature columns as the encoder takes them; absent columns are left out."""
    names = set(batch.schema.names)
    return {
        name: _column(batch.column(name), feature)
        for name, feature in features.items()
        if name in names
    }


def _column(array: Any, feature: Feature) -> Any:
    import pyarrow as pa

    if is_categorical(feature):
        if not pa.types.is_dictionary(array.type):
            if pa.types.is_null(array.type):
                return [None] * len(array)
            array = array.cast(pa.string()).dictionary_encode()
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return Coded(codes.astype(np.intp), tuple(array.dictionary.to_pylist()))
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return array.to_numpy(zero_copy_only=False)  # null becomes NaN
    return array.to_pylist()


def _predict(batch: pa.RecordBatch, plan: BulkPlan, first_row: int) -> pa.RecordBatch:
    import pyarrow as pa

    rows = batch.num_rows
    columns = arrow_columns(batch, plan.features)
    chosen: NDArray[np.integer[Any]] = np.zeros(rows, np.int16)
    if plan.choose is not None:
        chosen = plan.choose(columns, rows)
    answers = _Answers(
        np.full(rows, None, object),
        np.full(rows, np.nan),
        np.full(rows, None, object),
        np.full(rows, None, object),
    )
    if plan.strict:
        answers.errors = check_rows(columns, rows, plan.features)
    sound = np.asarray([error is None for error in answers.errors.tolist()], bool)
    for index in np.unique(chosen).tolist():
        model = plan.routes[index].model
        members = np.flatnonzero((chosen == index) & sound)
        if model is not None and len(members):
            whole = len(members) == rows
            part = columns if whole else {n: take(c, members) for n, c in columns.items()}
            _score(model, part, members, answers)
    rules = pa.array([route.rule for route in plan.routes], pa.string())
    names = pa.array([r.model.name if r.model else None for r in plan.routes], pa.string())
    versions = pa.array([r.model.version if r.model else None for r in plan.routes], pa.int64())
    picked = pa.array(chosen)
    ids = batch.column("_id") if "_id" in batch.schema.names else pa.nulls(rows, pa.string())
    return pa.record_batch(
        {
            "row": np.arange(first_row, first_row + rows),
            "id": ids,
            "rule": rules.take(picked),
            "model": names.take(picked),
            "version": versions.take(picked),
            "label": pa.array(answers.labels, pa.string()),
            "value": pa.array(answers.values, pa.float64(), from_pandas=True),
            "outputs": pa.array(answers.outputs, pa.string()),
            "error": pa.array(answers.errors, pa.string()),
        }
    )


def take(column: Any, rows: NDArray[np.intp]) -> Any:
    """Some rows of a column of any kind."""
    if isinstance(column, Coded):
        return Coded(column.codes[rows], column.words)
    if isinstance(column, np.ndarray):
        return column[rows]
    return [column[row] for row in rows.tolist()]


def _score(
    model: LoadedModel, columns: dict[str, Any], members: NDArray[np.intp], answers: _Answers
) -> None:
    """Score rows of one model; where one of them is bad, find it and score the others."""
    try:
        _fill(model, model.score_columns(columns, len(members)), members, answers)
    except AppError as error:
        if len(members) == 1:
            answers.errors[members[0]] = f"{error.code}: {error.message}"
            return
        half = len(members) // 2
        for part in (np.arange(half), np.arange(half, len(members))):
            halves = {name: take(column, part) for name, column in columns.items()}
            _score(model, halves, members[part], answers)


def _fill(
    model: LoadedModel, outputs: Outputs, members: NDArray[np.intp], answers: _Answers
) -> None:
    if outputs.probabilities is not None and outputs.labels is not None:
        answers.labels[members] = outputs.labels
        documents = _class_documents(outputs.labels, outputs.probabilities, model.output.classes)
    elif outputs.values is not None:
        answers.values[members] = outputs.values
        documents = [{"value": value} for value in outputs.values.tolist()]
    elif outputs.clusters is not None and outputs.distances is not None:
        answers.labels[members] = [str(cluster) for cluster in outputs.clusters.tolist()]
        answers.values[members] = outputs.distances
        pairs = zip(outputs.clusters.tolist(), outputs.distances.tolist(), strict=True)
        documents = [{"cluster": cluster, "distance": far} for cluster, far in pairs]
    else:
        return
    lines = _encoder.encode_lines(documents).decode().split("\n")
    answers.outputs[members] = lines[:-1]


def _class_documents(
    labels: NDArray[np.object_], probabilities: NDArray[np.float32], classes: tuple[str, ...]
) -> list[Any]:
    """Output documents of a classification."""
    answer, shares = _document_types(classes)
    columns = probabilities.T.tolist()
    return list(map(answer, labels.tolist(), map(shares, *columns)))


@cache
def _document_types(classes: tuple[str, ...]) -> tuple[type, type]:
    """Structs that encode as ``{"label": ..., "probability": {CLASS: ...}}``.

    Untracked by the garbage collector: half a million dicts a second cost more than the scores.
    """
    names = {f"p{place}": word for place, word in enumerate(classes)}
    fields = [(name, float) for name in names]
    shares = msgspec.defstruct("Shares", fields, rename=names, gc=False, frozen=True)
    answer = msgspec.defstruct(
        "Answer", [("label", str), ("probability", shares)], gc=False, frozen=True
    )
    return answer, shares
