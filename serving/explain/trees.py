"""Exact interventional Shapley values of a tree ensemble, from plain arrays.

For one leaf and one reference row, only features on the leaf's path matter: those that let the
explained row in and the reference out (set X), and the reverse (set R). A coalition reaches the
leaf exactly when it holds all of X and nothing of R, so the leaf's value is shared in closed form.
Summed over leaves this is exact, with no sampling.

All that depends only on the references is computed when the explainer is loaded. References that
a leaf cannot tell apart count as one; and where paths are short, a table holds the summed answer
of every leaf for every way in which a row can pass its tests, so that a row costs one look-up a
leaf, however many references there are.

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
MAX_TABLE = 1_000_000
"""Numbers of a table of all leaves: 8 MB."""
PAIR_BITS = 8
"""Up to this many columns on a path the shares of every pair of sets fit a table of 4 MB."""
Bits = NDArray[np.unsignedinteger[Any]]


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
        leaves, depth = slots.shape
        size = next(bits for bits in (8, 16, 32, 64) if bits >= depth)
        self._kind = np.dtype(f"uint{size}")
        # places that a path does not use refuse every row: low = high
        padded = ((0, 0), (0, size - depth))
        self._places = np.pad(np.maximum(slots, 0), padded).astype(np.intp)
        self._low, self._high = np.pad(low, padded), np.pad(high, padded)
        self._nan_in = np.pad(nan_in, padded)
        self._depth = depth
        self._slots = np.ascontiguousarray(self._places[:, :depth])
        self._value = value
        used = np.pad(slots >= 0, padded)
        self._full = self._packed(used)
        reached = [self._inside(row) for row in references]
        self.base = float(arrays["base"]) + sum(
            float(weight * value[mine == self._full].sum())
            for weight, mine in zip(weights, reached, strict=True)
        )
        self._pairs(np.stack(reached), weights)
        self._table: NDArray[np.float64] | None = None
        if leaves * (1 << depth) * depth <= MAX_TABLE:
            self._table = self._tabulate()
            self._starts = np.arange(leaves) << depth
        elif depth <= PAIR_BITS:
            self._sharing = _pair_shares(depth)
        else:
            self._gain, self._loss = _shares(depth)

    def _packed(self, inside: NDArray[np.bool_]) -> Bits:
        """One integer per leaf, one bit per path column."""
        packed: Bits = np.packbits(inside.ravel(), bitorder="little").view(self._kind)
        return packed

    def _inside(self, row: NDArray[np.float32]) -> Bits:
        """For each leaf, one bit per path column: does the row satisfy the leaf's box there."""
        given = row.take(self._places)
        inside = given > self._low
        inside &= given <= self._high
        if np.isnan(row).any():
            inside |= np.isnan(given) & self._nan_in
        return self._packed(inside)

    def _pairs(self, reached: Bits, weights: NDArray[np.float64]) -> None:
        """Each leaf with each way in which references pass its tests, and their weight together."""
        leaves = len(self._full)
        keys: dict[tuple[int, int], float] = {}
        for bits, weight in zip(reached.tolist(), weights.tolist(), strict=True):
            for leaf, mask in enumerate(bits):
                keys[leaf, mask] = keys.get((leaf, mask), 0.0) + weight
        pairs = sorted(keys)
        self._leaf = np.asarray([leaf for leaf, _ in pairs], np.intp)
        self._theirs = np.asarray([mask for _, mask in pairs], self._kind)
        self._need = self._full[self._leaf] & ~self._theirs
        self._share = np.asarray([keys[pair] for pair in pairs]) * self._value[self._leaf]
        assert leaves == 0 or self._leaf[-1] == leaves - 1

    def explain(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of each column, shape (width,); sums to output minus ``base``."""
        mine = self._inside(row)
        if self._table is not None:
            amounts = self._table.take(self._starts + mine, axis=0)
            return np.bincount(
                self._slots.ravel(), weights=amounts.ravel(), minlength=self.width
            ).astype(np.float64, copy=False)
        leaf, own, other, share = self._alive(mine)
        if self._depth <= PAIR_BITS:
            place = own.astype(np.intp) << self._depth
            place |= other
            amounts = self._sharing.take(place, axis=0)
            amounts *= share[:, None]
        else:
            amounts = self._amounts(own, other, share)
        # places that a path does not use have amount 0: they fall into the first column
        return np.bincount(
            self._slots.take(leaf, axis=0).ravel(), weights=amounts.ravel(), minlength=self.width
        ).astype(np.float64, copy=False)

    def _alive(self, mine: Bits) -> tuple[NDArray[np.intp], Bits, Bits, NDArray[np.float64]]:
        """Pairs whose leaf some coalition reaches: leaf, X, R and the value to share."""
        passed = mine.take(self._leaf)
        alive = (passed & self._need) == self._need
        alive &= passed != self._theirs  # what lets both in, or neither, moves nothing
        chosen = np.flatnonzero(alive)
        passed, theirs = passed.take(chosen), self._theirs.take(chosen)
        return self._leaf.take(chosen), passed & ~theirs, theirs & ~passed, self._share.take(chosen)

    def _amounts(self, own: Bits, other: Bits, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amount of each path column, shape (pairs, depth)."""
        gains, losses = np.bitwise_count(own), np.bitwise_count(other)
        gain = share * self._gain[gains, losses]
        loss = share * self._loss[gains, losses]
        amounts: NDArray[np.float64] = self._unpacked(own) * gain[:, None]
        amounts += self._unpacked(other) * loss[:, None]
        return amounts

    def _unpacked(self, bits: Bits) -> NDArray[np.uint8]:
        """One column per path column, shape (n, depth)."""
        flat = np.unpackbits(bits.view(np.uint8), bitorder="little")
        return flat.reshape(len(bits), -1)[:, : self._depth]

    def _tabulate(self) -> NDArray[np.float64]:
        """Amounts of every leaf for every way to pass its tests, shape (leaves << depth, depth)."""
        leaves, depth = len(self._full), self._depth
        self._gain, self._loss = _shares(depth)
        table = np.zeros((leaves, 1 << depth, depth))
        for mask in range(1 << depth):
            mine = np.full(leaves, mask, self._kind)
            leaf, own, other, share = self._alive(mine)
            np.add.at(table[:, mask], leaf, self._amounts(own, other, share))
        return table.reshape(-1, depth)

    def output(self, row: NDArray[np.float32]) -> float:
        """The ensemble's own output for a row, from the same leaves."""
        return self.base + float(self.explain(row).sum())


def _pair_shares(depth: int) -> NDArray[np.float64]:
    """Share of a leaf's value for each path column, by the sets X and R: shape (4**depth, depth).

    Sets that overlap do not occur.
    """
    gain, loss = _shares(depth)
    masks = np.arange(1 << depth, dtype=np.uint16)
    own, other = np.repeat(masks, 1 << depth), np.tile(masks, 1 << depth)
    apart = (own & other) == 0
    gains, losses = np.bitwise_count(own), np.bitwise_count(other)
    table = np.zeros((len(own), depth))
    a, b = gains[apart], losses[apart]
    for place in range(depth):
        bit = np.uint16(1 << place)
        table[apart, place] = np.where(own[apart] & bit, gain[a, b], 0.0) + np.where(
            other[apart] & bit, loss[a, b], 0.0
        )
    return table


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
    NDArray[np.float32],
    NDArray[np.float32],
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
    low_bound, high_bound = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    nan_in = np.zeros(shape, bool)
    for leaf, box in enumerate(boxes):
        for place, (column, (low, high, nan)) in enumerate(box.items()):
            slots[leaf, place] = column
            low_bound[leaf, place], high_bound[leaf, place] = floor32(low), floor32(high)
            nan_in[leaf, place] = nan
    return slots, low_bound, high_bound, nan_in, np.asarray(values, np.float64)


def floor32(bound: float) -> np.float32:
    """The largest float32 that is not above a number: every float32 compares with both alike."""
    nearest = np.float32(bound)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > bound else nearest
