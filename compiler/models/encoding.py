"""The lowering spec as data: how one decoded request becomes one float32 row.

Encoders are taken out of the model graph. What is left of them is this table: for each feature, in
row order, either the number itself (rounded to float32, once) or a look-up from value to slots.
The look-ups hold what the fitted encoder answered, so nothing is learnt or guessed at serving.
"""

from __future__ import annotations

from msgspec import Struct

from compiler.errors import AppError

Category = str | bool | int | float


class EncodingError(AppError):
    """The encoding does not fit the features, or a value does not fit the encoding."""

    code = "encoding.invalid"


class Numeric(Struct, frozen=True, tag="numeric", omit_defaults=True, forbid_unknown_fields=True):
    """One slot: the value as float32.

    Attributes:
        feature: name in the feature schema.
        missing: what MISSING becomes; ``None`` is NaN, which the graph handles.
    """

    feature: str
    missing: float | None = None

    @property
    def width(self) -> int:
        """Slots taken in the row."""
        return 1


class OneHot(Struct, frozen=True, tag="one_hot", omit_defaults=True, forbid_unknown_fields=True):
    """``width`` slots of which at most one is 1.

    Attributes:
        feature: name in the feature schema.
        width: number of slots.
        values: known values, in the encoder's order.
        hot: for each of ``values`` its slot, or -1 for all zeros.
        missing: slot of MISSING, -1 for all zeros, ``None`` when the encoder refuses it.
        unseen: the same for a value that is not in ``values``.
    """

    feature: str
    width: int
    values: tuple[Category, ...]
    hot: tuple[int, ...]
    missing: int | None = None
    unseen: int | None = None


class Table(Struct, frozen=True, tag="table", omit_defaults=True, forbid_unknown_fields=True):
    """``width`` slots filled from a table of floats (ordinal codes, target encodings).

    Attributes:
        feature: name in the feature schema.
        width: number of slots.
        values: known values.
        rows: for each of ``values`` its floats; ``None`` inside a row is NaN.
        missing: floats of MISSING, ``None`` when the encoder refuses it.
        unseen: floats of a value that is not in ``values``, ``None`` when refused.
    """

    feature: str
    width: int
    values: tuple[Category, ...]
    rows: tuple[tuple[float | None, ...], ...]
    missing: tuple[float | None, ...] | None = None
    unseen: tuple[float | None, ...] | None = None


Column = Numeric | OneHot | Table


class Encoding(Struct, frozen=True, forbid_unknown_fields=True):
    """All columns in row order; the row's width is the sum of theirs."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Slots of the whole row."""
        return sum(column.width for column in self.columns)

    def features(self) -> tuple[str, ...]:
        """Names read, in order of first use."""
        return tuple(dict.fromkeys(column.feature for column in self.columns))

    def slots(self) -> dict[str, list[int]]:
        """For each feature the slots that depend on it."""
        found: dict[str, list[int]] = {}
        start = 0
        for column in self.columns:
            found.setdefault(column.feature, []).extend(range(start, start + column.width))
            start += column.width
        return found


def check_encoding(encoding: Encoding, known: set[str]) -> None:
    """Refuse an encoding whose parts contradict each other or name unknown features.

    Raises:
        EncodingError: names the feature and what is wrong.
    """
    for column in encoding.columns:
        if column.feature not in known:
            raise EncodingError(f"the encoding reads unknown feature {column.feature!r}")
        if isinstance(column, Numeric):
            continue
        if column.width < 1 or len(set(column.values)) != len(column.values):
            raise EncodingError(
                "expected distinct values and a width of 1 or more", at=column.feature
            )
        if isinstance(column, OneHot):
            slots = [*column.hot, *(s for s in (column.missing, column.unseen) if s is not None)]
            fits = len(column.hot) == len(column.values) and all(
                -1 <= slot < column.width for slot in slots
            )
        else:
            rows = [*column.rows, *(r for r in (column.missing, column.unseen) if r is not None)]
            fits = len(column.rows) == len(column.values) and all(
                len(row) == column.width for row in rows
            )
        if not fits:
            raise EncodingError("the look-up does not fit its width", at=column.feature)
