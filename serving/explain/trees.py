"""Exact interventional Shapley values of a tree ensemble, from plain arrays.

For one leaf and one reference row, only features on the leaf's path matter: those that let the
explained row in and the reference out (set X), and the reverse (set R). A coalition reaches the
leaf exactly when it holds all of X and nothing of R, so the leaf's value is shared in closed form.
Summed over leaves this is exact, with no sampling.

All that depends only on the references is computed when the explainer is loaded:

    TabledLeaves   short paths: a table holds each leaf's summed answer for every way in which a
                   row can pass its tests; a row costs one look-up a leaf, however many references
    PairedLeaves   long paths: each leaf with each way in which references pass its tests;
                   references that a leaf cannot tell apart count as one

Source: Lundberg et al. 2020, "From local explanations to global understanding", algorithm 3;
the closed form is the Shapley value of a unanimity game with absent players.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.explain.paths import PairedLeaves, TabledLeaves, read_paths

MAX_TABLE = 1_000_000
"""Numbers in the table of short paths: 8 MB."""


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
        paths = read_paths(arrays)
        self._groups: list[TabledLeaves | PairedLeaves] = []
        short = _short_leaves(paths.lengths)
        if short.any():
            self._groups.append(TabledLeaves(paths.some(short), references, weights))
        if not short.all():
            self._groups.append(PairedLeaves(paths.some(~short), references, weights))
        self.base = float(arrays["base"]) + sum(group.expected for group in self._groups)

    def explain(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of each column, shape (width,); sums to output minus ``base``."""
        broken = bool(np.isnan(row).any())
        phi = np.zeros(self.width)
        for group in self._groups:
            slots, amounts = group.amounts(row, missing=broken)
            # places that a path does not use have amount 0: they fall into the first column
            phi += np.bincount(slots.ravel(), weights=amounts.ravel(), minlength=self.width)
        return phi


def _short_leaves(lengths: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The leaves whose answers fit the table: all up to some length of path."""
    longest = 0  # leaves of trees that never split have no path at all
    for length in range(1, int(lengths.max(initial=0)) + 1):
        if int((lengths <= length).sum()) * (1 << length) * length > MAX_TABLE:
            break
        longest = length
    short: NDArray[np.bool_] = lengths <= longest
    return short
