"""Exact interventional Shapley values of a linear model over the lowered row.

The margin is linear after the elementwise stages, so each column's value is its coefficient times
its distance from the weighted reference mean: exact for any set of references.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LinearShapley:
    """Shapley values of coefficients against weighted reference rows."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._coefficients = np.asarray(arrays["coefficients"], np.float64)
        self._stages = [
            tuple(np.asarray(arrays[f"stage_{part}"][level], np.float64) for part in _PARTS)
            for level in range(len(arrays["stage_scale"]))
        ]
        references = self._staged(np.asarray(arrays["references"], np.float32))
        self._centre = np.asarray(arrays["weights"], np.float64) @ references
        self.base = float(arrays["base"]) + float(self._coefficients @ self._centre)

    def _staged(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rows after clipping and scaling, as the graph does it."""
        values = rows.astype(np.float64)
        for lower, upper, offset, scale in self._stages:
            values = (np.clip(values, lower, upper) - offset) * scale
        return values

    def explain(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of each column, shape (width,); sums to margin minus ``base``."""
        phi: NDArray[np.float64] = self._coefficients * (self._staged(row) - self._centre)
        return phi


_PARTS = ("lower", "upper", "offset", "scale")
