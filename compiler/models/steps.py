"""Transformers of our own that pipelines may hold; each has an exact lowered form."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted


class AsFloat32(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers of an object matrix as a float32 matrix; changes no value.

    The values were rounded to float32 when the matrix was made, so this only restores the type.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Remember the number of columns."""
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """The same numbers, shape (rows, columns), float32."""
        check_is_fitted(self)
        return np.asarray(X, dtype=np.float32)


class QuantileClip(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip each column to quantiles of its training values; NaN stays NaN.

    Attributes:
        low: lower quantile in [0, 1).
        high: upper quantile in (0, 1].
        lower_: float32 bound per column.
        upper_: float32 bound per column.
    """

    def __init__(self, low: float = 0.01, high: float = 0.99) -> None:
        self.low = low
        self.high = high

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the bounds; they are rounded to float32, the domain they are compared in."""
        values = np.asarray(X, dtype=np.float64)
        self.n_features_in_ = values.shape[1]
        bounds = np.nanquantile(values, [self.low, self.high], axis=0)
        self.lower_, self.upper_ = bounds.astype(np.float32)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Clipped values, shape (rows, columns), float32."""
        check_is_fitted(self)
        clipped: NDArray[np.float32] = np.clip(
            np.asarray(X, dtype=np.float32), self.lower_, self.upper_
        )
        return clipped
