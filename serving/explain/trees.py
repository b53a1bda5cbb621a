"""Exact interventional Shapley values of a tree ensemble, from plain arrays.

For one leaf and one reference row, only features on the leaf's path matter: those that let the
explained row in and the reference out (set X), and the reverse (set R). A coalition reaches the
leaf exactly when it holds all of X and nothing of R, so the leaf's value is shared in closed form.
Summed over leaves this is exact, with no sampling. What depends only on the references is
computed once, when the explainer is loaded.

Source: Lundberg et al. 2020, "From local explanations to global understanding", algorithm 3;
the closed form is the Shapley value of a unanimity game with absent players.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.types import ScoreError

MAX_PATH = 63  # distinct columns on one path: one bit each


class TreeShapley:
    """Shapley values against weighted reference rows.

    Attributes:
        base: expected output over the references.
        width: columns of the row.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        references = np.asarray(arrays["references"], np.float32)
        weights = np.asarray(arrays["weights"], np.float64)
        self.width = references.shape[1]
        slots, low, high, nan_in, value = _leaf_boxes(arrays)
        self._slots, self._low, self._high, self._nan_in = slots, low, high, nan_in
        self._value = value
        used = slots >= 0
        self._bits = np.left_shift(np.uint64(1), np.arange(slots.shape[1], dtype=np.uint64))
        self._used = used
        self._full = (used * self._bits).sum(axis=1, dtype=np.uint64)
        self._weights = weights
        self._reference_bits = np.stack([self._inside(row) for row in references])
        self._gain, self._loss = _shares(slots.shape[1])
        reached = self._reference_bits == self._full
        self.base = float(arrays["base"]) + float(weights @ (reached @ value))

    def _inside(self, row: NDArray[np.float32]) -> NDArray[np.uint64]:
        """For each leaf, one bit per path column: does the row satisfy the leaf's box there."""
        given = row[np.maximum(self._slots, 0)]
        inside = (given > self._low) & (given <= self._high)
        inside = np.where(np.isnan(given), self._nan_in, inside) & self._used
        bits: NDArray[np.uint64] = (inside * self._bits).sum(axis=1, dtype=np.uint64)
        return bits

    def explain(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of each column, shape (width,); sums to output minus ``base``.

        Cost: leaves x references.
        """
        mine = self._inside(row)
        alive = (mine | self._reference_bits) == self._full
        reference, leaf = np.nonzero(alive)
        theirs = self._reference_bits[reference, leaf]
        own = mine[leaf] & ~theirs
        other = theirs & ~mine[leaf]
        gains, losses = np.bitwise_count(own), np.bitwise_count(other)
        moved = (gains + losses) > 0
        leaf, own, other = leaf[moved], own[moved], other[moved]
        gains, losses = gains[moved], losses[moved]
        share = self._value[leaf] * self._weights[reference[moved]]
        gain, loss = share * self._gain[gains, losses], share * self._loss[gains, losses]
        slots = self._slots[leaf]
        inside = (own[:, None] & self._bits) != 0
        outside = (other[:, None] & self._bits) != 0
        amounts = inside * gain[:, None] + outside * loss[:, None]
        # unused places have column -1 and amount 0: they fall into the first column
        phi = np.bincount(
            np.maximum(slots, 0).ravel(), weights=amounts.ravel(), minlength=self.width
        )
        return phi.astype(np.float64)

    def output(self, row: NDArray[np.float32]) -> float:
        """The ensemble's own output for a row, from the same leaves."""
        return self._start + float(self._value[self._inside(row) == self._full].sum())

    @property
    def _start(self) -> float:
        reached = self._reference_bits == self._full
        return self.base - float(self._weights @ (reached @ self._value))


def _shares(depth: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of a leaf's value for each column of X and of R, by their sizes (a, b)."""
    gain = np.zeros((depth + 1, depth + 1))
    loss = np.zeros((depth + 1, depth + 1))
    for a in range(depth + 1):
        for b in range(depth + 1 - a):
            whole = factorial(a + b)
            if a:
                gain[a, b] = factorial(a - 1) * factorial(b) / whole
            if b:
                loss[a, b] = -factorial(a) * factorial(b - 1) / whole
    return gain, loss


def _leaf_boxes(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[
    NDArray[np.int32],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.bool_],
    NDArray[np.float64],
]:
    """For each leaf the columns on its path with their bounds, padded to the longest path.

    Returns:
        columns (-1 = unused), exclusive lower and inclusive upper bounds, whether NaN passes, all
        of shape (leaves, longest path); leaf values, shape (leaves,).
    """
    left, right = arrays["left"].tolist(), arrays["right"].tolist()
    feature, threshold = arrays["feature"].tolist(), arrays["threshold"].tolist()
    default_left, value = arrays["default_left"].tolist(), arrays["value"].tolist()
    infinity = float("inf")
    boxes: list[dict[int, tuple[float, float, bool]]] = []
    values: list[float] = []
    for start in arrays["offsets"].tolist()[:-1]:
        stack: list[tuple[int, dict[int, tuple[float, float, bool]]]] = [(0, {})]
        while stack:
            node, box = stack.pop()
            at = start + node
            column = feature[at]
            if column < 0:
                boxes.append(box)
                values.append(value[at])
                continue
            low, high, nan = box.get(column, (-infinity, infinity, True))
            cut, goes_left = threshold[at], default_left[at]
            stack.append((left[at], {**box, column: (low, min(high, cut), nan and goes_left)}))
            stack.append((right[at], {**box, column: (max(low, cut), high, nan and not goes_left)}))
    depth = max((len(box) for box in boxes), default=0)
    if depth > MAX_PATH:
        raise ScoreError(f"a path tests {depth} columns; at most {MAX_PATH} can be explained")
    shape = (len(boxes), max(depth, 1))
    slots = np.full(shape, -1, np.int32)
    low_bound, high_bound = np.zeros(shape), np.zeros(shape)
    nan_in = np.zeros(shape, bool)
    for leaf, box in enumerate(boxes):
        for place, (column, (low, high, nan)) in enumerate(box.items()):
            slots[leaf, place] = column
            low_bound[leaf, place], high_bound[leaf, place] = low, high
            nan_in[leaf, place] = nan
    return slots, low_bound, high_bound, nan_in, np.asarray(values, np.float64)
