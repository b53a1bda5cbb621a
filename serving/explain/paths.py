"""Leaves of trees as the tests on their paths, and how a row passes them, in bits."""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from serving.types import ScoreError

MAX_PATH = 63  # distinct columns on one path: one bit each
PAIR_BITS = 8
"""Up to this many columns on a path the shares of every pair of sets fit a table of 4 MB."""
Bits = NDArray[np.unsignedinteger[Any]]
Amounts = tuple[NDArray[np.intp], NDArray[np.float64]]
"""Columns and what each gets, same shape (n, longest path)."""


class Paths(Struct, frozen=True):
    """Leaves with the columns on their paths; arrays of shape (leaves, longest path).

    Attributes:
        slots: column of the row, -1 where a path is shorter.
        low: exclusive lower bound.
        high: inclusive upper bound.
        nan_in: whether NaN passes.
        value: the leaf's value, shape (leaves,).
        lengths: columns on the path, shape (leaves,).
    """

    slots: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    nan_in: NDArray[np.bool_]
    value: NDArray[np.float64]
    lengths: NDArray[np.intp]

    def some(self, chosen: NDArray[np.bool_]) -> Paths:
        """Some of the leaves, no wider than they need."""
        width = max(int(self.lengths[chosen].max(initial=0)), 1)
        return Paths(
            self.slots[chosen, :width],
            self.low[chosen, :width],
            self.high[chosen, :width],
            self.nan_in[chosen, :width],
            self.value[chosen],
            self.lengths[chosen],
        )


class Leaves:
    """Some leaves, and the references that reach them.

    Attributes:
        expected: what the leaves give the references on average.
        slots: columns on the paths, shape (leaves, depth); 0 where a path is shorter.
        depth: columns on the longest path.
    """

    def __init__(
        self, paths: Paths, references: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> None:
        self.depth = paths.slots.shape[1]
        size = next(bits for bits in (8, 16, 32, 64) if bits >= self.depth)
        self._kind = np.dtype(f"uint{size}")
        # places that a path does not use refuse every row: low = high
        padded = ((0, 0), (0, size - self.depth))
        self._places = np.pad(np.maximum(paths.slots, 0), padded).astype(np.intp)
        self._low, self._high = np.pad(paths.low, padded), np.pad(paths.high, padded)
        self._nan_in = np.pad(paths.nan_in, padded)
        self.slots = np.ascontiguousarray(self._places[:, : self.depth])
        self._full = self._packed(np.pad(paths.slots >= 0, padded))
        self._gain, self._loss = shares(self.depth)
        reached = np.stack(
            [self._inside(row, missing=bool(np.isnan(row).any())) for row in references]
        )
        self.expected = float(weights @ ((reached == self._full) @ paths.value))
        self._pair(reached, weights, paths.value)

    def _packed(self, inside: NDArray[np.bool_]) -> Bits:
        """One integer per leaf, one bit per path column."""
        return np.packbits(inside.ravel(), bitorder="little").view(self._kind)

    def _inside(self, row: NDArray[np.float32], *, missing: bool) -> Bits:
        """For each leaf, one bit per path column: does the row satisfy the leaf's box there."""
        given = row.take(self._places)
        inside = given > self._low
        inside &= given <= self._high
        if missing:
            inside |= np.isnan(given) & self._nan_in
        return self._packed(inside)

    def _pair(
        self, reached: Bits, weights: NDArray[np.float64], value: NDArray[np.float64]
    ) -> None:
        """Each leaf with each way in which references pass its tests, their weight together."""
        leaves = reached.shape[1]
        leaf = np.tile(np.arange(leaves), len(reached))
        theirs = reached.ravel()
        order = np.lexsort((theirs, leaf))
        leaf, theirs = leaf[order], theirs[order]
        first = np.ones(len(leaf), bool)
        first[1:] = (leaf[1:] != leaf[:-1]) | (theirs[1:] != theirs[:-1])
        starts = np.flatnonzero(first)
        weight = np.add.reduceat(np.repeat(weights, leaves)[order], starts)
        self._leaf, self._theirs = leaf[starts], theirs[starts]
        self._need = self._full[self._leaf] & ~self._theirs
        self._share = weight * value[self._leaf]

    def _alive(self, mine: Bits) -> tuple[NDArray[np.intp], Bits, Bits, NDArray[np.float64]]:
        """Pairs whose leaf some coalition reaches: leaf, X, R and the value to share."""
        passed = mine.take(self._leaf)
        chosen = np.flatnonzero((passed & self._need) == self._need)
        passed, theirs = passed.take(chosen), self._theirs.take(chosen)
        return self._leaf.take(chosen), passed & ~theirs, theirs & ~passed, self._share.take(chosen)

    def _shared(self, own: Bits, other: Bits, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amount of each path column, shape (pairs, depth)."""
        gains, losses = np.bitwise_count(own), np.bitwise_count(other)
        amounts: NDArray[np.float64] = (
            self._unpacked(own) * (share * self._gain[gains, losses])[:, None]
        )
        amounts += self._unpacked(other) * (share * self._loss[gains, losses])[:, None]
        return amounts

    def _unpacked(self, bits: Bits) -> NDArray[np.uint8]:
        """One column per path column, shape (n, depth)."""
        flat = np.unpackbits(bits.view(np.uint8), bitorder="little")
        return flat.reshape(len(bits), 8 * self._kind.itemsize)[:, : self.depth]


class TabledLeaves(Leaves):
    """Leaves with short paths: one look-up each."""

    def __init__(
        self, paths: Paths, references: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> None:
        super().__init__(paths, references, weights)
        leaves = len(self._full)
        table = np.zeros((leaves, 1 << self.depth, self.depth))
        for mask in range(1 << self.depth):
            leaf, own, other, share = self._alive(np.full(leaves, mask, self._kind))
            np.add.at(table[:, mask], leaf, self._shared(own, other, share))
        self._table = table.reshape(-1, self.depth)
        self._starts = np.arange(leaves) << self.depth

    def amounts(self, row: NDArray[np.float32], *, missing: bool) -> Amounts:
        """Columns and amounts of every leaf.

        Args:
            row: the lowered row, shape (width,).
            missing: it holds NaN.
        """
        places = self._starts + self._inside(row, missing=missing)
        return self.slots, self._table.take(places, axis=0)


class PairedLeaves(Leaves):
    """Leaves with long paths: the pairs that a row's coalitions can reach are shared out."""

    def __init__(
        self, paths: Paths, references: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> None:
        super().__init__(paths, references, weights)
        self._sharing = pair_shares(self.depth) if self.depth <= PAIR_BITS else None

    def amounts(self, row: NDArray[np.float32], *, missing: bool) -> Amounts:
        """Columns and amounts of the pairs that count; arguments as for ``TabledLeaves``."""
        leaf, own, other, share = self._alive(self._inside(row, missing=missing))
        slots = self.slots.take(leaf, axis=0)
        if self._sharing is None:
            return slots, self._shared(own, other, share)
        place = own.astype(np.intp) << self.depth
        place |= other
        amounts = self._sharing.take(place, axis=0)
        amounts *= share[:, None]
        return slots, amounts


def pair_shares(depth: int) -> NDArray[np.float64]:
    """Share of a leaf's value for each path column, by the sets X and R: shape (4**depth, depth).

    Sets that overlap do not occur.
    """
    gain, loss = shares(depth)
    masks = np.arange(1 << depth, dtype=np.uint16)
    own, other = np.repeat(masks, 1 << depth), np.tile(masks, 1 << depth)
    apart = (own & other) == 0
    a, b = np.bitwise_count(own[apart]), np.bitwise_count(other[apart])
    table = np.zeros((len(own), depth))
    for place in range(depth):
        bit = np.uint16(1 << place)
        table[apart, place] = np.where(own[apart] & bit, gain[a, b], 0.0) + np.where(
            other[apart] & bit, loss[a, b], 0.0
        )
    return table


def shares(depth: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def read_paths(arrays: Mapping[str, NDArray[Any]]) -> Paths:
    """For each leaf the columns on its path with their bounds, padded to the longest path.

    All trees are walked at once, level by level.

    Raises:
        ScoreError: a path is too long.
    """
    offsets = np.asarray(arrays["offsets"], np.intp)
    start = np.repeat(offsets[:-1], np.diff(offsets))
    children = (arrays["left"] + start, arrays["right"] + start)
    feature, threshold = np.asarray(arrays["feature"]), np.asarray(arrays["threshold"])
    default_left = np.asarray(arrays["default_left"], bool)
    nodes = offsets[:-1]
    box = _Boxes(len(nodes))
    found: list[tuple[NDArray[np.intp], _Boxes]] = []
    while len(nodes):
        leaf = feature[nodes] < 0
        found.append((nodes[leaf], box.some(leaf)))
        nodes, box = nodes[~leaf], box.some(~leaf)
        sides = box.split(feature[nodes], threshold[nodes], default_left[nodes])
        nodes = np.concatenate([child[nodes] for child in children])
        box = _Boxes.both(*sides)
    lengths = np.concatenate([part.lengths for _, part in found])
    depth = int(lengths.max(initial=0))
    if depth > MAX_PATH:
        raise ScoreError(f"a path tests {depth} columns; at most {MAX_PATH} can be explained")
    leaves = np.concatenate([leaf for leaf, _ in found])
    slots, low, high, nan_in = (
        np.concatenate([part.padded(max(depth, 1))[place] for _, part in found])
        for place in range(4)
    )
    unused = slots < 0
    low[unused] = high[unused] = 0.0
    nan_in[unused] = False
    value = np.asarray(arrays["value"], np.float64)[leaves]
    return Paths(slots, floor32(low), floor32(high), nan_in, value, lengths)


class _Boxes:
    """What the paths to some nodes demand so far: columns, bounds, whether NaN passes."""

    def __init__(self, count: int) -> None:
        self.slots = np.full((count, 0), -1, np.int32)
        self.low, self.high = np.zeros((count, 0)), np.zeros((count, 0))
        self.nan_in = np.zeros((count, 0), bool)
        self.lengths = np.zeros(count, np.intp)

    def some(self, chosen: NDArray[np.bool_]) -> _Boxes:
        """The boxes of some of the nodes."""
        found = _Boxes(0)
        found.slots, found.low, found.high = self.slots[chosen], self.low[chosen], self.high[chosen]
        found.nan_in, found.lengths = self.nan_in[chosen], self.lengths[chosen]
        return found

    def split(
        self, column: NDArray[Any], cut: NDArray[Any], goes_left: NDArray[np.bool_]
    ) -> tuple[_Boxes, _Boxes]:
        """The boxes of the left and right children of all nodes."""
        slots, low, high, nan_in = self.padded(self.slots.shape[1] + 1)
        hit = slots == column[:, None]
        known = hit.any(axis=1)
        place = np.where(known, hit.argmax(axis=1), self.lengths)
        row = np.arange(len(slots))
        slots[row, place] = column
        sides = []
        for left in (True, False):
            side = _Boxes(0)
            side.slots, side.lengths = slots, self.lengths + ~known
            side.low, side.high, side.nan_in = low.copy(), high.copy(), nan_in.copy()
            if left:
                side.high[row, place] = np.minimum(high[row, place], cut)
            else:
                side.low[row, place] = np.maximum(low[row, place], cut)
            side.nan_in[row, place] &= goes_left == left
            sides.append(side)
        return sides[0], sides[1]

    def padded(
        self, width: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """The arrays with room for ``width`` columns; what is unused is open to everything."""
        more = ((0, 0), (0, max(0, width - self.slots.shape[1])))
        return (
            np.pad(self.slots, more, constant_values=-1)[:, :width],
            np.pad(self.low, more, constant_values=-np.inf)[:, :width],
            np.pad(self.high, more, constant_values=np.inf)[:, :width],
            np.pad(self.nan_in, more, constant_values=True)[:, :width],
        )

    @classmethod
    def both(cls, left: _Boxes, right: _Boxes) -> _Boxes:
        """Left children, then right children."""
        found = cls(0)
        for name in ("slots", "low", "high", "nan_in", "lengths"):
            setattr(found, name, np.concatenate([getattr(left, name), getattr(right, name)]))
        return found


def floor32(bounds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each number: every float32 compares with both alike."""
    with np.errstate(over="ignore"):  # beyond float32 the neighbour of infinity is the bound
        nearest = bounds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > bounds, below, nearest)
