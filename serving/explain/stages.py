"""What the graph does to a row before a linear model or a distance: clipping and scaling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PARTS = ("lower", "upper", "offset", "scale")


class Stages:
    """Elementwise stages, one after the other.

    Without clipping they are one multiplication and one addition for a whole row.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], width: int) -> None:
        self._stages = [
            tuple(np.asarray(arrays[f"stage_{part}"][level], np.float64) for part in _PARTS)
            for level in range(len(arrays["stage_scale"]))
        ]
        clips = any(
            np.isfinite(lower).any() or np.isfinite(upper).any()
            for lower, upper, _, _ in self._stages
        )
        self.affine: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if not clips:
            factor, shift = np.ones(width), np.zeros(width)
            for _, _, offset, scale in self._stages:
                factor, shift = factor * scale, (shift - offset) * scale
            self.affine = factor, shift

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rows after all stages, shape of ``rows``."""
        values = rows.astype(np.float64)
        for lower, upper, offset, scale in self._stages:
            values = (np.clip(values, lower, upper) - offset) * scale
        return values
