"""Many rows: Arrow record batches in, record batches out, in order, in constant memory.

Each batch is routed by a vectorised rule function, its rows are split by route, scored together
per model and put back in order. A row that cannot be answered carries its error and the rest go
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.models.values import Coded, is_categorical
from compiler.schema import Feature, FeatureMap, OutputSchema
from serving.check import check_rows
from serving.outputs import outputs_json
from serving.scatter import Answers

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.engine import LoadedModel

CHUNK_ROWS = 16_384  # bounds memory whatever the size of the incoming batches
Choose = Callable[[Mapping[str, Any], int], NDArray[np.integer[Any]]]


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

    @property
    def output(self) -> OutputSchema:
        """What the models answer: all of them the same."""
        return next(
            (route.model.output for route in self.routes if route.model is not None),
            OutputSchema("regression"),
        )


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
    errors = np.full(rows, None, object)
    if plan.strict:
        errors = check_rows(columns, rows, plan.features)
    sound = np.asarray([error is None for error in errors.tolist()], bool)
    answers = Answers.empty(plan.output, rows)
    for index in np.unique(chosen).tolist():
        model = plan.routes[index].model
        if model is not None:
            answers.score(model, columns, np.flatnonzero((chosen == index) & sound))
    for row, error in answers.errors.items():
        errors[row] = f"{error.code}: {error.message}"
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
            "label": _labels(answers),
            "value": _numbers(answers),
            "outputs": outputs_json(answers, plan.output),
            "error": pa.array(errors, pa.string()),
        }
    )


def _labels(answers: Answers) -> Any:
    """Words of classes or numbers of clusters; null without an answer."""
    import pyarrow as pa

    codes = answers.clusters if answers.codes is None else answers.codes
    if codes is None:
        return pa.nulls(len(answers.answered), pa.string())
    picked = pa.array(codes, mask=~answers.answered)
    if answers.codes is None:
        return picked.cast(pa.string())
    return pa.array(answers.classes.tolist(), pa.string()).take(picked)


def _numbers(answers: Answers) -> Any:
    """Values or distances; null without an answer."""
    import pyarrow as pa

    if answers.values is None:
        return pa.nulls(len(answers.answered), pa.float64())
    return pa.array(answers.values, mask=~answers.answered)
