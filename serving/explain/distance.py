"""Exact Shapley values of the squared distance to a row's own cluster centre.

A squared distance is a sum over columns, so each column's value is simply its own part of it minus
the same part averaged over the references; nothing has to be asked or sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.explain.stages import Stages


class DistanceShapley:
    """Shapley values of ``|x - centre|^2`` against weighted reference rows."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._centres = np.asarray(arrays["centres"], np.float64)
        self._used = np.asarray(arrays["used"], np.float64)
        self._stages = Stages(arrays, self._centres.shape[1])
        references = self._stages.apply(np.asarray(arrays["references"], np.float32))
        weights = np.asarray(arrays["weights"], np.float64)
        self._expected = np.stack([weights @ self._parts(references, c) for c in self._centres])
        self._bases = self._expected.sum(axis=1)

    def _parts(
        self, staged: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        parts: NDArray[np.float64] = self._used * (staged - centre) ** 2
        return parts

    def base(self, cluster: int) -> float:
        """Expected squared distance of the references to a centre."""
        return float(self._bases[cluster])

    def explain(self, row: NDArray[np.float32], cluster: int) -> NDArray[np.float64]:
        """Value of each column, shape (width,); sums to the squared distance minus ``base``."""
        staged = self._stages.apply(row)
        phi: NDArray[np.float64] = self._parts(staged, self._centres[cluster])
        phi -= self._expected[cluster]
        return phi
