"""Trees over the row itself: column numbers become row slots, thresholds become raw units.

A scaler before trees cannot simply be repeated in float32: a row that lies on a threshold would
fall to the other side. Scalers and clippers of single columns never decrease, so "scaled value
<= t" is "raw value <= T" for one float32 T, found by bisection over all float32 with the fitted
steps themselves as the judge. After that there is no arithmetic left before the trees.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compiler.models.lower import Block, Lowered, selected_slots
from compiler.models.trees import TreeArrays, tree_arrays

_LARGEST = int(np.asarray(np.finfo(np.float32).max, np.float32).view(np.int32))


def row_trees(lowered: Lowered) -> TreeArrays | None:
    """The estimator's trees over the row of ``lowered``; ``None`` when it is no tree family.

    Feature numbers are row slots and thresholds raw float32 bounds, whatever stood in between.
    """
    slots = selected_slots(lowered)
    trees = tree_arrays(lowered.estimator) if slots is not None else None
    if trees is None or slots is None:
        return None
    feature = np.where(trees.feature >= 0, slots[np.maximum(trees.feature, 0)], -1)
    threshold = trees.threshold.copy()
    wide = type(lowered.estimator).__name__.startswith("HistGradientBoosting")
    start = 0
    for block in lowered.blocks:
        width = sum(column.width for column in block.columns)
        if block.stages:
            for place in range(width):
                hit = feature == start + place
                if hit.any():
                    threshold[hit] = raw_thresholds(block, place, threshold[hit], wide=wide)
        start += width
    return msgspec.structs.replace(trees, feature=feature, threshold=threshold)


def raw_thresholds(
    block: Block, place: int, thresholds: NDArray[np.float64], *, wide: bool
) -> NDArray[np.float64]:
    """For each threshold after the block's steps the largest raw float32 that stays below it.

    Args:
        block: fitted steps of single columns, each never decreasing.
        place: column within the block.
        thresholds: shape (n,), in units after the steps.
        wide: the trees compare float64 (histogram boosting); others compare float32.

    Returns:
        Shape (n,): float32 values, -inf where nothing stays below, inf where everything does.
    """
    unique, back = np.unique(thresholds, return_inverse=True)
    low = np.full(len(unique), -_LARGEST, np.int64)
    high = np.full(len(unique), _LARGEST, np.int64)
    below_all = _after(block, place, _float(low), wide=wide) > unique
    above_all = _after(block, place, _float(high), wide=wide) <= unique
    while (high - low > 1).any():
        middle = (low + high) // 2
        stays = _after(block, place, _float(middle), wide=wide) <= unique
        low, high = np.where(stays, middle, low), np.where(stays, high, middle)
    found = _float(low).astype(np.float64)
    found[below_all], found[above_all] = -np.inf, np.inf
    raw: NDArray[np.float64] = found[back]
    return raw


def _float(order: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 at a place in the order of all finite ones; 0 is zero."""
    bits = np.where(order >= 0, order, -order | 0x8000_0000).astype(np.uint32)
    return bits.view(np.float32)


def _after(
    block: Block, place: int, values: NDArray[np.float32], *, wide: bool
) -> NDArray[np.float64]:
    """The column after the block's fitted steps, as the trees see it."""
    rows: Any = np.repeat(block.template, len(values), axis=0)
    rows[:, place] = values
    with np.errstate(over="ignore", invalid="ignore"):
        for step in block.chain:
            rows = step.transform(rows)
        seen = np.asarray(rows)[:, place].astype(np.float64 if wide else np.float32)
    return seen.astype(np.float64)
