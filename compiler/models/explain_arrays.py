"""What an explanation needs, as plain arrays: ``explain.npz``.

Trees or coefficients over the row, and the reference rows: weighted medoids of the training rows
that scored just above the cut-off, so that an explanation says what separates this applicant from
one who just passed. Everything is read back with ``allow_pickle=False``.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.models.fold import row_trees
from compiler.models.lower import Lowered, selected_slots
from compiler.models.supported import by_class
from compiler.models.trees import TreeArrays
from compiler.schema import OutputSchema

Method = Literal["linear", "tree", "distance", "permutation"]
MEDOIDS = 10
CANDIDATES = 200
CUT_OFF = 0.5
MAX_NODE_OUTPUTS = 20_000_000


def explain_file(
    lowered: Lowered,
    rows: NDArray[np.float32],
    answers: NDArray[np.float64],
    output: OutputSchema,
    *,
    positive: str | None,
) -> bytes:
    """Content of ``explain.npz``.

    Args:
        lowered: the split pipeline.
        rows: encoded training rows, shape (rows, width).
        answers: the model's numbers on them, shape (rows, outputs), classes in schema order.
        output: the output schema.
        positive: the favourable class, whose margin is explained; default the last class.
    """
    target = 0
    if output.task == "classification":
        favourable = positive if positive is not None else output.classes[-1]
        target = list(output.classes).index(favourable)
    references, weights = reference_rows(rows, answers[:, target], output)
    arrays: dict[str, NDArray[Any]] = {
        "references": references,
        "weights": weights,
        "target": np.asarray(target, np.int64),
    }
    method: Method = "permutation"
    mask = selected_slots(lowered)
    trees = row_trees(lowered)
    if mask is not None:
        if trees is not None and trees.value.size <= MAX_NODE_OUTPUTS:
            method = "tree"
            arrays.update(_tree_part(trees, lowered, output, target))
        elif hasattr(lowered.estimator, "cluster_centers_"):
            method = "distance"
            arrays.update(_distance_part(lowered, mask))
        elif by_class(type(lowered.estimator).__name__).family == "linear":
            method = "linear"
            arrays.update(_linear_part(lowered, mask, output, target))
    arrays["method"] = np.asarray(method)
    return pack(arrays)


def pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """An npz without pickles; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def reference_rows(
    rows: NDArray[np.float32], answers: NDArray[np.float64], output: OutputSchema
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Up to ten weighted medoids of rows just above the cut-off (regression: the median).

    Returns:
        Rows, shape (k, width), and weights summing to 1, shape (k,).
    """
    cut = CUT_OFF if output.task == "classification" else float(np.median(answers))
    above = np.flatnonzero(answers >= cut)
    if not above.size:
        above = np.arange(len(answers))
    nearest = above[np.argsort(answers[above], kind="stable")[:CANDIDATES]]
    candidates = rows[nearest].astype(np.float64)
    filled = np.nan_to_num(candidates, nan=0.0)
    spread = filled.std(axis=0)
    points = filled / np.where(spread > 0, spread, 1.0)
    distance = np.abs(points[:, None, :] - points[None, :, :]).sum(axis=2)
    chosen = [int(distance.sum(axis=1).argmin())]
    while len(chosen) < min(MEDOIDS, len(nearest)):
        farthest = int(distance[:, chosen].min(axis=1).argmax())
        if distance[farthest, chosen].min() == 0.0:
            break
        chosen.append(farthest)
    for _ in range(5):
        owner = distance[:, chosen].argmin(axis=1)
        moved = []
        for place in range(len(chosen)):
            members = np.flatnonzero(owner == place)
            inner = distance[np.ix_(members, members)].sum(axis=1)
            moved.append(int(members[inner.argmin()]) if members.size else chosen[place])
        if moved == chosen:
            break
        chosen = moved
    owner = distance[:, chosen].argmin(axis=1)
    weights = np.bincount(owner, minlength=len(chosen)) / len(nearest)
    return rows[nearest[chosen]], weights


def _tree_part(
    trees: TreeArrays,
    lowered: Lowered,
    output: OutputSchema,
    target: int,
) -> dict[str, NDArray[Any]]:
    """Tree arrays reduced to the explained output, columns as row slots."""
    value, base, space = trees.value, trees.base, "margin"
    if trees.link == "logit":
        classes = [str(item) for item in lowered.estimator.classes_.tolist()]
        sign = 1.0 if output.classes[target] == classes[1] else -1.0
        value, base = sign * value[:, 0], sign * base[0]
    elif output.task == "classification":
        classes = [str(item) for item in lowered.estimator.classes_.tolist()]
        place = classes.index(output.classes[target])
        if trees.link == "softmax":
            value, base = against_others(value, place), against_others(base[None, :], place)[0]
        else:
            value, base, space = value[:, place], base[place], "probability"
    else:
        value, base, space = value[:, 0], base[0], "value"
    return {
        "offsets": trees.offsets,
        "left": trees.left.astype(np.int32),
        "right": trees.right.astype(np.int32),
        "default_left": trees.default_left,
        "feature": trees.feature.astype(np.int32),
        "threshold": trees.threshold,
        "value": value,
        "cover": trees.cover,
        "base": np.asarray(base, np.float64),
        "space": np.asarray(space),
        "link": np.asarray(trees.link),
    }


def against_others(margins: NDArray[np.float64], place: int) -> NDArray[np.float64]:
    """Margin of one class against the mean of the others, which probabilities determine exactly.

    ``m_t - mean(m_others) = log p_t - mean(log p_others)``: softmax keeps differences.

    Args:
        margins: shape (rows, classes).
        place: column of the explained class.
    """
    others = np.delete(margins, place, axis=1)
    difference: NDArray[np.float64] = margins[:, place] - others.mean(axis=1)
    return difference


def _linear_part(
    lowered: Lowered, slots: NDArray[np.intp], output: OutputSchema, target: int
) -> dict[str, NDArray[Any]]:
    """Coefficients over the staged row, and the stages as vectors."""
    estimator = lowered.estimator
    coefficients = np.atleast_2d(estimator.coef_).astype(np.float64)
    intercepts = np.atleast_1d(estimator.intercept_).astype(np.float64)
    link = "identity"
    if output.task == "classification":
        classes = [str(item) for item in estimator.classes_.tolist()]
        place = classes.index(output.classes[target])
        if len(coefficients) == 1:
            sign = 1.0 if place == 1 else -1.0
            coefficients, intercepts, place = sign * coefficients, sign * intercepts, 0
            link = "logit"
        else:
            link = "softmax"
            coefficients = against_others(coefficients.T, place)[None, :]
            intercepts = against_others(intercepts[None, :], place)
    whole = np.zeros(lowered.encoding.width)
    whole[slots] = coefficients[0]
    return {
        "coefficients": whole,
        "base": intercepts[0],
        "space": np.asarray("margin" if output.task == "classification" else "value"),
        "link": np.asarray(link),
        **_stage_part(lowered),
    }


def _distance_part(lowered: Lowered, slots: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Cluster centres over the staged row, and which columns they use."""
    centres = np.asarray(lowered.estimator.cluster_centers_, np.float64)
    width = lowered.encoding.width
    whole, used = np.zeros((len(centres), width)), np.zeros(width)
    whole[:, slots], used[slots] = centres, 1.0
    return {
        "centres": whole,
        "used": used,
        "space": np.asarray("squared distance"),
        **_stage_part(lowered),
    }


def _stage_part(lowered: Lowered) -> dict[str, NDArray[Any]]:
    """The elementwise stages as vectors, shape (stages, width)."""
    stages, width = lowered.stages, lowered.encoding.width
    stacked = {
        "stage_lower": [stage.lower for stage in stages],
        "stage_upper": [stage.upper for stage in stages],
        "stage_offset": [stage.offset for stage in stages],
        "stage_scale": [stage.scale for stage in stages],
    }
    return {key: np.asarray(part, np.float64).reshape(-1, width) for key, part in stacked.items()}
