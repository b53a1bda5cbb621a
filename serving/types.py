"""What the engine answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError

OutputTuple = tuple[Any, ...]
"""One answer: ``(label, probabilities)``, ``(value,)`` or ``(cluster, distance)``."""


class ScoreError(AppError):
    """The model could not answer this row."""

    code = "model.score"


class Outputs(Struct, frozen=True):
    """Answers for many rows; what does not belong to the task is ``None``.

    Attributes:
        labels: shape (rows,), object array of ``str``.
        probabilities: shape (rows, classes), float32, classes in schema order.
        values: shape (rows,), float32.
        clusters: shape (rows,), int64.
        distances: shape (rows,), float32.
    """

    labels: NDArray[np.object_] | None = None
    probabilities: NDArray[np.float32] | None = None
    values: NDArray[np.float32] | None = None
    clusters: NDArray[np.int64] | None = None
    distances: NDArray[np.float32] | None = None

    def row(self, index: int) -> OutputTuple:
        """One answer as the scalar scorer gives it."""
        if self.probabilities is not None and self.labels is not None:
            return self.labels[index], tuple(self.probabilities[index].tolist())
        if self.values is not None:
            return (float(self.values[index]),)
        if self.clusters is None or self.distances is None:
            raise ScoreError("no outputs to read")
        return int(self.clusters[index]), float(self.distances[index])

    def rows(self) -> list[OutputTuple]:
        """Every answer as the scalar scorer gives it, in order."""
        if self.probabilities is not None and self.labels is not None:
            shares = map(tuple, self.probabilities.tolist())
            return list(zip(self.labels.tolist(), shares, strict=True))
        if self.values is not None:
            return [(value,) for value in self.values.tolist()]
        if self.clusters is None or self.distances is None:
            raise ScoreError("no outputs to read")
        return list(zip(self.clusters.tolist(), self.distances.tolist(), strict=True))
