"""Ask a fitted encoder for its whole answer table.

The chain of fitted transformers is treated as a function of one row of categories. One value is
varied at a time; output columns that move belong to that feature. Two features moving one column
is refused (it would not be a look-up), and the parity gate proves the result afterwards.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.errors import AppError
from compiler.models.encoding import Category, Column, OneHot, Table
from compiler.models.values import is_categorical
from compiler.schema import FeatureMap

UNSEEN_WORD = "\x00a category never seen\x00"
UNSEEN_NUMBER = -1.2345678e30
MAX_CATEGORIES = 100_000

Row = NDArray[np.float64]


class TabulateError(AppError):
    """The encoder's answer is not a look-up per feature."""

    code = "model.lowering"


def tabulate(
    chain: list[Any], names: list[str], matrix: NDArray[Any], features: FeatureMap
) -> list[Column]:
    """Look-up columns equal to the chain, in the order of its output.

    Args:
        chain: fitted transformers, applied in order.
        names: features of the chain's input columns.
        matrix: training rows of these columns, shape (rows, len(names)).
        features: the schema; enum words are tabulated whether seen in training or not.

    Raises:
        TabulateError: an output column depends on two features, or there are too many values.
    """
    numbers = [not is_categorical(features[name]) for name in names]
    values = [
        _candidates(chain, place, matrix[:, place], features[name].values, number=numbers[place])
        for place, name in enumerate(names)
    ]
    base = [column[0] for column in values]
    ask = _Asker(chain, object_input=not all(numbers))
    origin = ask.one(base)
    if origin is None:
        raise TabulateError(f"the encoder of {', '.join(names)} refuses its own training values")
    owner = np.full(len(origin), -1)
    answers: list[tuple[list[Row | None], Row | None, Row | None]] = []
    for place, name in enumerate(names):
        known = ask.many([[*base[:place], v, *base[place + 1 :]] for v in values[place]])
        missing = ask.one([*base[:place], np.nan if numbers[place] else None, *base[place + 1 :]])
        unseen_value = UNSEEN_NUMBER if numbers[place] else UNSEEN_WORD
        unseen = ask.one([*base[:place], unseen_value, *base[place + 1 :]])
        answers.append((known, missing, unseen))
        for row in (*known, missing, unseen):
            if row is None:
                continue
            moved = ~((row == origin) | (np.isnan(row) & np.isnan(origin)))
            clash = moved & (owner >= 0) & (owner != place)
            if clash.any():
                other = names[int(owner[clash][0])]
                raise TabulateError(
                    f"an encoded column depends on both {other} and {name}",
                    hint="encode each feature by itself, and combine them after encoding",
                )
            owner[moved] = place
    _own_constants(owner)
    return [
        _column(names[place], values[place], answers[place], run) for place, run in _runs(owner)
    ]


def _candidates(
    chain: list[Any], place: int, seen: NDArray[Any], words: tuple[str, ...], *, number: bool
) -> list[Category]:
    found: dict[Category, None] = dict.fromkeys(words)
    learned = getattr(chain[0], "categories_", None)
    if learned is not None and not isinstance(learned, str):
        found.update(dict.fromkeys(v for v in learned[place].tolist() if not _is_missing(v)))
    found.update(dict.fromkeys(v for v in seen.tolist() if not _is_missing(v)))
    if not found or len(found) > MAX_CATEGORIES:
        raise TabulateError(f"expected 1 to {MAX_CATEGORIES} categories, got {len(found)}")
    if number:
        return sorted({float(np.float32(value)) for value in found})
    return list(found)


def _is_missing(value: Any) -> bool:
    return value is None or value != value


class _Asker:
    """Applies the chain; ``None`` where it refuses."""

    def __init__(self, chain: list[Any], *, object_input: bool) -> None:
        self._chain = chain
        self._dtype = object if object_input else np.float32

    def _apply(self, rows: list[list[Any]]) -> NDArray[np.float64]:
        result: Any = np.array(rows, dtype=self._dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some encoders warn about each unseen value
            for step in self._chain:
                result = step.transform(result)
        dense = result.toarray() if hasattr(result, "toarray") else result
        return np.asarray(dense, dtype=np.float64)

    def one(self, row: list[Any]) -> Row | None:
        try:
            return np.asarray(self._apply([row])[0])
        except (ValueError, TypeError):  # how scikit-learn refuses an unknown or missing value
            return None

    def many(self, rows: list[list[Any]]) -> list[Row | None]:
        try:
            return list(self._apply(rows))
        except (ValueError, TypeError):
            return [self.one(row) for row in rows]


def _own_constants(owner: NDArray[np.int_]) -> None:
    """Give a column that never moves to its left neighbour (the first to its right one)."""
    last = int(owner[owner >= 0][0]) if (owner >= 0).any() else 0
    for place in range(len(owner)):
        if owner[place] < 0:
            owner[place] = last
        last = int(owner[place])


def _runs(owner: NDArray[np.int_]) -> list[tuple[int, slice]]:
    runs: list[tuple[int, slice]] = []
    start = 0
    for place in range(1, len(owner) + 1):
        if place == len(owner) or owner[place] != owner[start]:
            runs.append((int(owner[start]), slice(start, place)))
            start = place
    return runs


def _column(
    name: str,
    values: list[Category],
    answers: tuple[list[Row | None], Row | None, Row | None],
    run: slice,
) -> Column:
    known, missing, unseen = answers
    kept = [(v, row[run]) for v, row in zip(values, known, strict=True) if row is not None]
    rest = [None if row is None else row[run] for row in (missing, unseen)]
    width = run.stop - run.start
    slots = [_hot(row) for _, row in kept] + [None if row is None else _hot(row) for row in rest]
    if width > 1 and all(slot is None or slot >= -1 for slot in slots):
        hot = tuple(slot for slot in slots[: len(kept)] if slot is not None)
        return OneHot(name, width, tuple(v for v, _ in kept), hot, slots[-2], slots[-1])
    floats = [None if row is None else _floats(row) for row in (*(r for _, r in kept), *rest)]
    rows = tuple(row for row in floats[: len(kept)] if row is not None)
    return Table(name, width, tuple(v for v, _ in kept), rows, floats[-2], floats[-1])


def _hot(row: Row) -> int:
    """The slot of the only 1; -1 for all zeros; -2 for anything else."""
    ones = np.flatnonzero(row)
    if ones.size == 0:
        return -1
    return int(ones[0]) if ones.size == 1 and row[ones[0]] == 1.0 else -2


def _floats(row: Row) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(item) else float(np.float32(item)) for item in row)
