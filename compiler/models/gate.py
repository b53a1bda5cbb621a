"""Run the parity gate over a built package: every group of rows, both graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.encode import encode_columns
from compiler.models.graph import Built, class_order
from compiler.models.lower import Lowered
from compiler.models.matrix import from_matrix
from compiler.models.parity import (
    BATCH_SIZES,
    PROBABILITY_TOLERANCE,
    RELATIVE_TOLERANCE,
    SHOWN_ROWS,
    TRAINING_ROWS,
    Answers,
    Mismatch,
    ParityError,
    ParityReport,
    batch_invariance,
    compare,
    graph_answers,
    grid,
    pipeline_answers,
)
from compiler.models.session import open_session, run_rows
from compiler.models.values import is_categorical, model_features
from compiler.schema import FeatureMap, OutputSchema


class Subject(Struct, frozen=True):
    """What is compared: the fitted pipeline and both graphs of it."""

    pipeline: Any
    lowered: Lowered
    built: Built
    portable: bytes
    features: FeatureMap
    output: OutputSchema


def check_parity(
    subject: Subject,
    matrix: NDArray[Any],
    *,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> ParityReport:
    """Compare pipeline, lowered graph and portable graph on every group of rows.

    Args:
        subject: what is compared.
        matrix: training rows; at most 20,000 are used.
        seed: seed of the grid.
        progress: told (step, share done).

    Returns:
        The report of a passed gate.

    Raises:
        ParityError: shows the first offending rows.
    """
    session = open_session(subject.built.model.SerializeToString())
    portable = open_session(subject.portable)
    names = subject.built.graph.outputs
    encoded = _encode(subject, matrix[:1000])

    def run(rows: NDArray[np.float32], min_rows: int) -> list[NDArray[Any]]:
        return run_rows(session, names, rows, min_rows=min_rows)

    min_rows = batch_invariance(run, encoded)
    order = None
    if subject.output.task == "classification":
        order = class_order(subject.lowered.estimator, subject.output)
    groups = {"training": matrix[:TRAINING_ROWS]}
    groups.update(grid(subject.lowered, matrix, subject.features, seed))
    tolerance, scale = _limits(subject, groups["training"], order)
    largest = {"lowered": 0.0, "portable": 0.0}
    flips = {"lowered": 0, "portable": 0}
    offenders: list[Mismatch] = []
    counts: dict[str, int] = {}
    refused = 0
    for place, (group, rows) in enumerate(groups.items()):
        if progress is not None:
            progress(f"parity: {group}", place / len(groups))
        kept, expected = _answered(subject, rows, order)
        refused += len(rows) - len(kept)
        counts[group] = len(rows)
        if not len(kept):
            continue
        graphs = {
            "lowered": run(_encode(subject, kept), min_rows),
            "portable": portable.run(list(names), _portable_feed(subject, kept)),
        }
        for graph, outputs in graphs.items():
            got = graph_answers(outputs, subject.output)
            difference, flipped = compare(expected, got, scale, tolerance)
            largest[graph] = max(largest[graph], float(difference.max()))
            flips[graph] += int(flipped.sum())
            offenders.extend(
                Mismatch(
                    group,
                    graph,
                    _values(subject, kept[row]),
                    [float(item) for item in expected[0][row]],
                    [float(item) for item in got[0][row]],
                )
                for row in np.flatnonzero((difference > tolerance) | flipped)[:SHOWN_ROWS]
            )
    if offenders:
        raise ParityError(
            f"expected answers within {tolerance:g}, got differences up to "
            f"{max(largest.values()):.3g} and {max(flips.values())} other labels",
            offenders,
            hint="a tree behind a scaler, or training on unrounded numbers, causes this",
        )
    return ParityReport(
        counts, refused, largest, flips, tolerance, BATCH_SIZES, min_rows, passed=True
    )


def _limits(
    subject: Subject, rows: NDArray[Any], order: NDArray[np.intp] | None
) -> tuple[float, float]:
    """Tolerance, and the spread that differences are divided by."""
    if subject.output.task == "classification":
        return PROBABILITY_TOLERANCE, 1.0
    numbers, _ = pipeline_answers(subject.pipeline, rows, subject.output, order)
    return RELATIVE_TOLERANCE, float(max(np.abs(numbers).max(), np.std(numbers), 1e-30))


def _answered(
    subject: Subject, rows: NDArray[Any], order: NDArray[np.intp] | None
) -> tuple[NDArray[Any], Answers]:
    """The rows that the pipeline answers, with its answers.

    Raises:
        ParityError: the encoding answers a row that the pipeline refuses, or the reverse.
    """
    try:
        answers = pipeline_answers(subject.pipeline, rows, subject.output, order)
        _encode(subject, rows)
    except (ValueError, TypeError, AppError):
        keep = [
            row for row in range(len(rows)) if _both_answer(subject, rows[row : row + 1], order)
        ]
        rows = rows[keep]
        if not len(rows):
            return rows, (np.empty((0, 1)), None)
        answers = pipeline_answers(subject.pipeline, rows, subject.output, order)
    return rows, answers


def _both_answer(subject: Subject, row: NDArray[Any], order: NDArray[np.intp] | None) -> bool:
    pipeline = encoding = True
    try:
        pipeline_answers(subject.pipeline, row, subject.output, order)
    except (ValueError, TypeError):  # how scikit-learn refuses a row
        pipeline = False
    try:
        missing = bool(np.isnan(_encode(subject, row)).any())
    except AppError:
        encoding, missing = False, False
    if pipeline and not encoding:
        values = _values(subject, row[0])
        raise ParityError(f"the encoding refuses a row that the pipeline answers: {values}", [])
    # the pipeline may refuse a missing number that the row carries as NaN: nothing to compare
    if encoding and not pipeline and not missing:
        values = _values(subject, row[0])
        raise ParityError(f"the encoding answers a row that the pipeline refuses: {values}", [])
    return pipeline


def _encode(subject: Subject, rows: NDArray[Any]) -> NDArray[np.float32]:
    columns = from_matrix(rows, subject.features)
    return encode_columns(columns, len(rows), subject.lowered.encoding, subject.features)


def _portable_feed(subject: Subject, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    columns = from_matrix(rows, subject.features)
    feed: dict[str, NDArray[Any]] = {}
    for name in subject.lowered.encoding.features():
        values = columns[name]
        if is_categorical(subject.features[name]):
            values = np.asarray(["" if item is None else item for item in values], dtype=object)
        feed[name] = values.reshape(-1, 1)
    return feed


def _values(subject: Subject, row: NDArray[Any]) -> dict[str, Any]:
    return {
        name: row[place] if isinstance(row[place], str | None) else float(row[place])
        for place, name in enumerate(model_features(subject.features))
    }
