"""The parity gate: fitted pipeline = lowered graph = portable graph, or no package.

Compared on training rows, on rows one float32 step around tree thresholds and training extremes,
on rows with each feature MISSING and with each category unseen. A row that the pipeline refuses
must be refused by the encoding too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.fold import row_trees
from compiler.models.lower import Lowered
from compiler.models.trees import thresholds
from compiler.models.values import is_categorical, model_features
from compiler.schema import FeatureMap, OutputSchema

PROBABILITY_TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-5
TRAINING_ROWS = 20_000
GRID_ROWS = 6_000
BASE_ROWS = 16
SHOWN_ROWS = 5
BATCH_SIZES = (1, 2, 3, 7, 64, 1000)
MIN_ROWS = (1, 2, 4, 8, 16)


class Mismatch(Struct, frozen=True):
    """One row that differs: where it came from, its values, both answers."""

    group: str
    graph: str
    values: dict[str, Any]
    expected: list[float]
    got: list[float]


class ParityReport(Struct, frozen=True):
    """What was compared and how close it was.

    Attributes:
        rows: rows compared per group (``training``, ``boundary``, ``missing``, ``unseen``).
        refused: rows that pipeline and encoding both refuse.
        largest_difference: per graph (``lowered``, ``portable``); probabilities or, for other
            tasks, relative to the spread of the outputs.
        label_flips: per graph, rows with another label (ties within tolerance aside).
        tolerance: the limit for ``largest_difference``.
        batch_sizes: sizes over which answers are bit-equal.
        min_rows: rows a run is padded to for that.
        passed: always true in a package; a failed gate raises.
    """

    rows: dict[str, int]
    refused: int
    largest_difference: dict[str, float]
    label_flips: dict[str, int]
    tolerance: float
    batch_sizes: tuple[int, ...]
    min_rows: int
    passed: bool


class ParityError(AppError):
    """The exported graph does not answer as the fitted pipeline does."""

    code = "model.parity"

    def __init__(self, message: str, rows: list[Mismatch], *, hint: str = "") -> None:
        self.rows = rows
        shown = "; ".join(msgspec.json.encode(row).decode() for row in rows[:SHOWN_ROWS])
        super().__init__(f"{message}: {shown}" if shown else message, hint=hint)


Answers = tuple[NDArray[np.float64], NDArray[Any] | None]
"""Numbers, shape (rows, outputs), and labels, shape (rows,) or None."""
Asked = Callable[[NDArray[Any]], Answers]


def pipeline_answers(
    pipeline: Any, matrix: NDArray[Any], output: OutputSchema, order: NDArray[np.intp] | None
) -> Answers:
    """What the fitted pipeline says: the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some encoders warn about each unseen value
        if output.task == "classification":
            numbers = pipeline.predict_proba(matrix)[:, order]
            labels = np.asarray([str(item) for item in pipeline.predict(matrix)], dtype=object)
            return numbers.astype(np.float64), labels
        if output.task == "regression":
            return np.asarray(pipeline.predict(matrix), np.float64).reshape(-1, 1), None
        distance = pipeline.transform(matrix).min(axis=1)
        labels = np.asarray(pipeline.predict(matrix), dtype=np.int64)
        return distance.astype(np.float64)[:, None], labels


def graph_answers(outputs: list[NDArray[Any]], output: OutputSchema) -> Answers:
    """The same from the outputs of a graph."""
    if output.task == "classification":
        index = outputs[1] if len(outputs) > 1 else outputs[0].argmax(axis=1)
        labels = np.asarray(output.classes, dtype=object)[index]
        return outputs[0].astype(np.float64), labels
    if output.task == "regression":
        return outputs[0].astype(np.float64), None
    return outputs[1].astype(np.float64), outputs[0]


def compare(
    expected: Answers, got: Answers, scale: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Per row the largest difference, and whether the label flipped without being a tie."""
    difference = np.abs(expected[0] - got[0]).max(axis=1) / scale
    difference = np.where(np.isnan(difference), np.inf, difference)
    if expected[1] is None or got[1] is None:
        return difference, np.zeros(len(difference), bool)
    flips = np.asarray(expected[1] != got[1], bool)
    if expected[0].shape[1] > 1:
        top = np.sort(expected[0], axis=1)
        flips &= (top[:, -1] - top[:, -2]) > 2 * tolerance
    return difference, flips


def grid(
    lowered: Lowered, matrix: NDArray[Any], features: FeatureMap, seed: int
) -> dict[str, NDArray[Any]]:
    """Rows where mistakes hide, as matrices of the pipeline's kind.

    Returns:
        ``boundary``: training rows with one number set to a float32 at, just below or just above
        a threshold or training extreme; ``missing`` and ``unseen``: one feature changed.
    """
    random = np.random.default_rng(seed)
    used = model_features(features)
    names = list(used)
    trees = row_trees(lowered)
    slots = lowered.encoding.slots()
    boundary: list[tuple[int, Any]] = []
    for place, name in enumerate(names):
        if is_categorical(used[name]):
            continue
        known = matrix[:, place].astype(np.float32)
        known = known[~np.isnan(known)]
        extremes = [known.min(), known.max()] if known.size else [np.float32(0)]
        centres = np.asarray(extremes, np.float32)
        if trees is not None and name in slots:
            found = [thresholds(trees, slot) for slot in slots[name]]
            found = [item[np.isfinite(item)] for item in found]
            centres = np.concatenate([centres, *(item.astype(np.float32) for item in found)])
        for step in (-np.inf, None, np.inf):
            moved = centres if step is None else np.nextafter(centres, np.float32(step))
            boundary.extend((place, float(value)) for value in np.unique(moved))
    if len(boundary) > GRID_ROWS:
        chosen = random.choice(len(boundary), GRID_ROWS, replace=False)
        boundary = [boundary[index] for index in sorted(chosen)]
    # each value on several rows: only some of them reach the node that tests it
    boundary *= min(BASE_ROWS, max(1, GRID_ROWS // max(len(boundary), 1)))
    per_feature = 3
    missing: list[tuple[int, Any]] = [
        (p, None) for p in range(len(names)) for _ in range(per_feature)
    ]
    unseen: list[tuple[int, Any]] = [
        (place, "never seen before")
        for place, name in enumerate(names)
        if is_categorical(used[name])
        for _ in range(per_feature)
    ]
    groups = {"boundary": boundary, "missing": missing, "unseen": unseen}
    return {
        group: _changed(matrix, changes, names, features, random)
        for group, changes in groups.items()
        if changes
    }


def _changed(
    matrix: NDArray[Any],
    changes: list[tuple[int, Any]],
    names: list[str],
    features: FeatureMap,
    random: np.random.Generator,
) -> NDArray[Any]:
    rows = matrix[random.integers(0, len(matrix), len(changes))].copy()
    for row, (place, value) in enumerate(changes):
        number = not is_categorical(features[names[place]])
        rows[row, place] = np.float32(np.nan) if value is None and number else value
    return rows


def batch_invariance(
    run: Callable[[NDArray[np.float32], int], list[NDArray[Any]]], rows: NDArray[np.float32]
) -> int:
    """Smallest padding at which every batch size answers bit for bit alike.

    Args:
        run: (rows, min_rows) to outputs.
        rows: encoded rows; up to 1000 are used.

    Raises:
        ParityError: no padding up to 16 helps.
    """
    rows = rows[: max(BATCH_SIZES)]
    for min_rows in MIN_ROWS:
        whole = run(rows, min_rows)
        if all(_same(whole, run, rows, size, min_rows) for size in BATCH_SIZES):
            return min_rows
    raise ParityError("the same row answers differently in batches of different sizes", [])


def _same(
    whole: list[NDArray[Any]],
    run: Callable[[NDArray[np.float32], int], list[NDArray[Any]]],
    rows: NDArray[np.float32],
    size: int,
    min_rows: int,
) -> bool:
    limit = len(rows) if size > 7 else min(len(rows), 300)
    for start in range(0, limit, size):
        part = run(rows[start : start + size], min_rows)
        for full, piece in zip(whole, part, strict=True):
            if full[start : start + len(piece)].tobytes() != piece.tobytes():
                return False
    return True
