"""Exact interventional Shapley values of a linear model over the lowered row.

The margin is linear after the elementwise stages, so each column's value is its coefficient times
its distance from the weighted reference mean: exact for any set of references.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.explain.stages import Stages


class LinearShapley:
    """Shapley values of coefficients against weighted reference rows.

    Attributes:
        base: expected margin over the references.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        coefficients = np.asarray(arrays["coefficients"], np.float64)
        self._coefficients = coefficients
        self._stages = Stages(arrays, len(coefficients))
        references = self._stages.apply(np.asarray(arrays["references"], np.float32))
        centre = np.asarray(arrays["weights"], np.float64) @ references
        self._centre = centre
        self.base = float(arrays["base"]) + float(coefficients @ centre)
        self._slope: NDArray[np.float64] | None = None
        if self._stages.affine is not None:
            factor, shift = self._stages.affine
            self._slope = coefficients * factor
            self._level = coefficients * (shift - centre)

    def explain(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of each column, shape of ``rows``; each row's sum is margin minus base."""
        if self._slope is not None:
            return self._slope * rows + self._level
        phi: NDArray[np.float64] = self._coefficients * (self._stages.apply(rows) - self._centre)
        return phi
