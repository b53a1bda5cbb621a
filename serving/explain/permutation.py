"""Shapley values of any model by asking its graph: exact for few features, else by permutations.

Players are business features (all their columns together). The value of a coalition is the mean
output over the references with the coalition's features taken from the explained row. Up to ten
features every coalition is asked; beyond, pairs of a permutation and its reverse are walked, which
adds up exactly by construction and converges with their number. The seed is fixed: the same row
gets the same explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

EXACT_FEATURES = 10
PAIRS = 12
SEED = 20_240_601
Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


class PermutationShapley:
    """Shapley values of a scoring function against weighted reference rows."""

    def __init__(
        self,
        score: Score,
        slots: Mapping[str, Sequence[int]],
        references: NDArray[np.float32],
        weights: NDArray[np.float64],
    ) -> None:
        self._score = score
        self.names = list(slots)
        self._slots = [list(slots[name]) for name in self.names]
        self._references = references
        self._weights = weights
        self.base = float(weights @ score(references))

    def explain(self, row: NDArray[np.float32]) -> dict[str, float]:
        """Shapley value of each feature; sums to output minus ``base``."""
        if len(self.names) <= EXACT_FEATURES:
            return self._exact(row)
        return self._sampled(row)

    def _values(self, row: NDArray[np.float32], members: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Value of each coalition, ``members`` of shape (coalitions, features)."""
        count = len(self._references)
        rows = np.tile(self._references, (len(members), 1))
        for place, slots in enumerate(self._slots):
            chosen = np.flatnonzero(np.repeat(members[:, place], count))
            rows[chosen[:, None], slots] = row[slots]
        scores = self._score(rows).reshape(len(members), count)
        values: NDArray[np.float64] = scores @ self._weights
        return values

    def _exact(self, row: NDArray[np.float32]) -> dict[str, float]:
        size = len(self.names)
        codes = np.arange(1 << size)
        members = (codes[:, None] >> np.arange(size)) & 1 == 1
        values = self._values(row, members)
        sizes = members.sum(axis=1)
        share = np.asarray(
            [
                factorial(k) * factorial(max(size - k - 1, 0)) / factorial(size)
                for k in range(size + 1)
            ]
        )
        phi = {}
        for place, name in enumerate(self.names):
            without = codes[~members[:, place]]
            gain = values[without | (1 << place)] - values[without]
            phi[name] = float(share[sizes[without]] @ gain)
        return phi

    def _sampled(self, row: NDArray[np.float32]) -> dict[str, float]:
        size = len(self.names)
        random = np.random.default_rng(SEED)
        orders = [order for _ in range(PAIRS) for order in _pair(random.permutation(size))]
        members = np.zeros((len(orders), size + 1, size), bool)
        for walk, order in enumerate(orders):
            for step, place in enumerate(order):
                members[walk, step + 1 :, place] = True
        values = self._values(row, members.reshape(-1, size)).reshape(len(orders), size + 1)
        total = np.zeros(size)
        for walk, order in enumerate(orders):
            total[order] += np.diff(values[walk])
        return dict(zip(self.names, (total / len(orders)).tolist(), strict=True))


def _pair(order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return order, order[::-1]
