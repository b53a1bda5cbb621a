"""Business columns to the model matrix, prepared when a model is loaded.

The plain meaning is ``compiler.models.encode.encode_columns``; tests hold the two equal. Columns
of numbers become the matrix in one step, whatever their number; look-up tables are built once.
Whatever is more than that (dates, decimals, values that do not fit, absent columns) goes the plain
way, which also words what is wrong.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.models.encode import Columns, encode_columns, look_up
from compiler.models.encoding import Encoding, Numeric, OneHot, Table
from compiler.models.values import Coded, is_categorical
from compiler.schema import FeatureMap

MANY_ROWS = 256
"""From here on a step per column costs less than one over all of them."""


class _Words(Struct, frozen=True):
    """One categorical part with its look-up table.

    Attributes:
        feature: whose words.
        start, stop: its slots.
        table: rows of slots by index; the last two are MISSING and unseen.
        known: index of a word.
        refused: indices that the encoder refuses.
    """

    feature: str
    start: int
    stop: int
    table: NDArray[np.float32]
    known: dict[Any, int]
    refused: tuple[int, ...]


class ColumnEncoder:
    """Encodes columns of one model.

    Args:
        encoding: the lowering spec.
        features: the schema it refers to.
        many_rows: rows from which columns are filled in one by one.
    """

    def __init__(
        self, encoding: Encoding, features: FeatureMap, *, many_rows: int = MANY_ROWS
    ) -> None:
        self._many_rows = many_rows
        self._encoding = encoding
        self._features = features
        self._numeric: list[str] = []
        self._words: list[_Words] = []
        fill: list[float] = []
        slots: list[int] = []
        start = 0
        self._plain = True
        for part in encoding.columns:
            if isinstance(part, Numeric):
                self._numeric.append(part.feature)
                slots.append(start)
                fill.append(np.nan if part.missing is None else part.missing)
            elif is_categorical(features[part.feature]):
                self._words.append(_words(part, start))
            else:
                self._plain = False  # numbers as categories: rare enough for the plain way
            start += part.width
        self._slots = np.asarray(slots, np.intp)
        self._fill = np.asarray(fill, np.float32)
        self._fills = not np.isnan(self._fill).all()
        self._whole = len(slots) == encoding.width

    def encode(self, columns: Columns, rows: int) -> NDArray[np.float32]:
        """The model matrix of ``rows`` rows, shape (rows, width), C order.

        Raises:
            AppError: a value does not fit; ``at`` names row and feature.
        """
        matrix = self._quickly(columns, rows) if self._plain and rows else None
        if matrix is None:
            return encode_columns(columns, rows, self._encoding, self._features)
        return matrix

    def _quickly(self, columns: Columns, rows: int) -> NDArray[np.float32] | None:
        """The matrix, None where the plain way has to look."""
        if rows >= self._many_rows:
            out = np.empty((rows, self._encoding.width), np.float32)
            if not self._fill_in(columns, rows, out):
                return None
        else:
            numbers = self._numbers(columns, rows)
            if numbers is None:
                return None
            if self._whole:
                return numbers
            out = np.empty((rows, self._encoding.width), np.float32)
            out[:, self._slots] = numbers
        for part in self._words:
            values = columns.get(part.feature)
            if not isinstance(values, Coded) or len(values.codes) != rows:
                return None
            count = len(part.table)
            index = [part.known.get(word, count - 1) for word in values.words]
            index.append(count - 2)  # code -1 is the last entry: missing
            chosen = np.asarray(index, np.intp).take(values.codes, mode="wrap")
            if any((chosen == each).any() for each in part.refused):
                return None
            out[:, part.start : part.stop] = part.table.take(chosen, axis=0)
        return out

    def _numbers(self, columns: Columns, rows: int) -> NDArray[np.float32] | None:
        """Numeric columns side by side, rounded once, C order."""
        if not self._numeric:
            return np.empty((rows, 0), np.float32)
        try:
            whole = np.array([columns[name] for name in self._numeric])
        except (KeyError, TypeError, ValueError):  # absent, or not the same kind of thing
            return None
        if whole.dtype.kind not in "fiub" or whole.shape != (len(self._numeric), rows):
            return None
        if whole.dtype != np.float32:
            with np.errstate(over="ignore"):
                whole = whole.astype(np.float64).astype(np.float32)
        matrix = np.ascontiguousarray(whole.T)
        if not np.isfinite(matrix).all():
            if np.isinf(matrix).any():
                return None
            if self._fills:
                np.copyto(matrix, self._fill, where=np.isnan(matrix))
        return matrix

    def _fill_in(self, columns: Columns, rows: int, out: NDArray[np.float32]) -> bool:
        """Numeric columns into their slots, one after the other; whether all of them fit.

        One pass over each column: side by side in one array first, many rows would go through the
        memory three times.
        """
        for name, slot, fill in zip(self._numeric, self._slots, self._fill, strict=True):
            values = columns.get(name)
            if not isinstance(values, np.ndarray) or values.shape != (rows,):
                return False
            if values.dtype.kind in "iub":
                values = values.astype(np.float64)  # whole numbers are rounded twice everywhere
            elif values.dtype.kind != "f":
                return False
            with np.errstate(over="ignore", invalid="ignore"):
                column = values.astype(np.float32)
                odd = not isfinite(column.sum())  # or a sum too large, which the next line forgives
            if odd:
                if np.isinf(column).any():
                    return False
                np.copyto(column, fill, where=np.isnan(column))
            out[:, slot] = column
        return True


def _words(part: OneHot | Table, start: int) -> _Words:
    count = len(part.values)
    known: dict[Any, int] = {value: index for index, value in enumerate(part.values)}
    refused = tuple(
        place
        for place, answer in ((count, part.missing), (count + 1, part.unseen))
        if answer is None
    )
    return _Words(part.feature, start, start + part.width, look_up(part), known, refused)
