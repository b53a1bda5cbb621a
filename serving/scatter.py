"""Answers of several models put back to the rows they belong to.

Rows that one model answers are scored together. When one of them cannot be answered the others
still are: the rows are halved until the bad one is alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.values import Coded
from compiler.schema import OutputSchema
from serving.types import Outputs


class Answers(Struct):
    """Answers of ``rows`` rows; what does not belong to the task is None.

    Attributes:
        codes: shape (rows,), int32 index into the classes, -1 without an answer.
        probabilities: shape (rows, classes), float32.
        values: shape (rows,), float64, NaN without an answer: values, or distances to clusters.
        clusters: shape (rows,), int64, -1 without an answer.
        answered: shape (rows,), bool.
        errors: what went wrong, by row.
    """

    codes: NDArray[np.int32] | None
    probabilities: NDArray[np.float32] | None
    values: NDArray[np.float64] | None
    clusters: NDArray[np.int64] | None
    answered: NDArray[np.bool_]
    errors: dict[int, AppError]
    classes: NDArray[np.object_]

    @staticmethod
    def empty(schema: OutputSchema, rows: int) -> Answers:
        """No row answered yet."""
        classes = len(schema.classes) if schema.task == "classification" else 0
        return Answers(
            np.full(rows, -1, np.int32) if classes else None,
            np.full((rows, classes), np.nan, np.float32) if classes else None,
            None if classes else np.full(rows, np.nan),
            np.full(rows, -1, np.int64) if schema.task == "clustering" else None,
            np.zeros(rows, bool),
            {},
            np.asarray(schema.classes, object),
        )

    def score(self, model: Any, columns: dict[str, Any], members: NDArray[np.intp]) -> None:
        """Score some rows by one model.

        Args:
            model: :class:`serving.engine.LoadedModel`.
            columns: values by feature, of all rows.
            members: numbers of the rows.
        """
        if len(members) == len(self.answered):
            self._score(model, columns, members)
        elif len(members):
            self._score(model, {n: take(c, members) for n, c in columns.items()}, members)

    def _score(self, model: Any, columns: dict[str, Any], members: NDArray[np.intp]) -> None:
        try:
            self._put(model.score_columns(columns, len(members)), members)
        except AppError as error:
            if len(members) == 1:
                self.errors[int(members[0])] = error
                return
            half = len(members) // 2
            for part in (np.arange(half), np.arange(half, len(members))):
                halves = {name: take(column, part) for name, column in columns.items()}
                self._score(model, halves, members[part])

    def _put(self, outputs: Outputs, members: NDArray[np.intp]) -> None:
        self.answered[members] = True
        if self.codes is not None and self.probabilities is not None:
            self.codes[members] = codes_of(outputs.labels, self.classes)
            self.probabilities[members] = outputs.probabilities
        elif self.clusters is not None and outputs.clusters is not None:
            self.clusters[members] = outputs.clusters
            if self.values is not None and outputs.distances is not None:
                self.values[members] = outputs.distances
        elif self.values is not None and outputs.values is not None:
            self.values[members] = outputs.values


def codes_of(labels: Any, classes: NDArray[np.object_]) -> NDArray[np.int32]:
    """Index of each label among the classes.

    Labels are taken from the classes, so that looking at the object is enough.
    """
    codes = np.zeros(len(labels), np.int32)
    for code, word in enumerate(classes.tolist()):
        if code:
            codes[labels == word] = code
    return codes


def take(column: Any, rows: NDArray[np.intp]) -> Any:
    """Some rows of a column of any kind."""
    if isinstance(column, Coded):
        return Coded(column.codes[rows], column.words)
    if isinstance(column, np.ndarray):
        return column[rows]
    return [column[row] for row in rows.tolist()]
