"""Which type a column has, decided by all of its values.

Each column is watched block by block; a type stays possible until one value contradicts it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from compiler.schema import Feature, FeatureType

MAX_CATEGORIES = 256
"""A text column with more different values is ``string`` and not an ``enum``."""
COUNTED = 5000
"""Different values are counted up to here."""

_INT = r"^[+-]?(0|[1-9]\d{0,17})$"
_FLOAT = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$"
_PADDED = r"^[+-]?0\d"  # 007 is a code, not a number
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}(:\d{2})?)?$"
_BOOL = r"^([Tt]rue|[Ff]alse|TRUE|FALSE)$"

_PATTERNS: dict[FeatureType, str] = {
    "bool": _BOOL, "int": _INT, "float": _FLOAT, "date": _DATE, "timestamp": _TIME,
}  # fmt: skip


class ColumnScan:
    """What is known about one column so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.missing = 0
        self.numeric = 0
        self.formulas = 0
        self.values: dict[str, int] = {}
        self.overflow = False
        self.repeats = False
        self.low: float | None = None
        self.high: float | None = None
        self._possible: dict[FeatureType, str] = dict(_PATTERNS)

    def see(self, column: pa.Array) -> None:
        """Take one block of text values, null = MISSING."""
        self.rows += len(column)
        self.missing += column.null_count
        present = column.drop_null()
        if not len(present):
            return
        numbers = pc.match_substring_regex(present, _FLOAT)
        padded = pc.match_substring_regex(present, _PADDED)
        is_number = pc.and_(numbers, pc.invert(padded))
        self.numeric += pc.sum(is_number).as_py() or 0
        self.formulas += pc.sum(pc.match_substring_regex(present, r"^[=@]")).as_py() or 0
        for word, pattern in list(self._possible.items()):
            fits = is_number if word == "float" else pc.match_substring_regex(present, pattern)
            if not pc.all(fits).as_py():
                del self._possible[word]
        if "float" in self._possible:
            self._see_range(present)
        if not self.overflow:
            self._count(present)
        elif not self.repeats:
            self.repeats = pc.count_distinct(present).as_py() < 0.9 * len(present)

    def _see_range(self, present: pa.Array) -> None:
        bounds = pc.min_max(present.cast(pa.float64())).as_py()
        self.low = bounds["min"] if self.low is None else min(self.low, bounds["min"])
        self.high = bounds["max"] if self.high is None else max(self.high, bounds["max"])

    def _count(self, present: pa.Array) -> None:
        for item in pc.value_counts(present):
            value = item["values"].as_py()
            self.values[value] = self.values.get(value, 0) + item["counts"].as_py()
        if len(self.values) > COUNTED:
            self.overflow = True
            self.repeats = len(self.values) < 0.9 * self.present
            self.values = dict(sorted(self.values.items(), key=_frequent)[:MAX_CATEGORIES])

    @property
    def distinct(self) -> int | None:
        """Different values; None when there are more than :data:`COUNTED`."""
        return None if self.overflow else len(self.values)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    def type(self) -> FeatureType:
        """The narrowest type that every value fits."""
        if not self.present:
            return "string"
        for word in _PATTERNS:
            if word in self._possible:
                return word
        few = self.distinct is not None and self.distinct <= MAX_CATEGORIES
        return "enum" if few and not self.is_identifier() else "string"

    def is_identifier(self) -> bool:
        """Whether nearly every row has a value of its own."""
        if self.present < 20:
            return False
        if self.distinct is None:  # more than could be counted: the later blocks tell
            return not self.repeats
        return self.distinct > 0.9 * self.present

    def feature(self, *, protected: bool, sensitive: bool) -> Feature:
        """The feature that the column becomes."""
        kind = self.type()
        values = tuple(sorted(self.values)) if kind == "enum" else ()
        return Feature(
            kind,
            values=values,
            nullable=self.missing > 0,
            protected=protected,
            sensitive=sensitive,
        )

    def top(self, limit: int = 50) -> tuple[tuple[str, int], ...]:
        """The most frequent values with their rows."""
        return tuple(sorted(self.values.items(), key=_frequent)[:limit])


def _frequent(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def typed(column: pa.Array, kind: FeatureType) -> pa.Array:
    """A text column as the snapshot keeps it; numbers are rounded to float32 here, once.

    Raises:
        pyarrow.ArrowInvalid: a date or number that only looks like one.
    """
    if kind == "int":
        return column.cast(pa.int64())
    if kind in ("float", "float32"):
        return column.cast(pa.float64()).cast(pa.float32())
    if kind == "bool":
        return pc.equal(pc.utf8_lower(column), "true")
    if kind == "date":
        return column.cast(pa.date32())
    if kind == "timestamp":
        return _times(column)
    return column


def _times(column: pa.Array) -> pa.Array:
    zoned = pc.match_substring_regex(column, r"(Z|[+-]\d{2}(:\d{2})?)$")
    full = pc.if_else(zoned, column, pc.binary_join_element_wise(column, "Z", ""))
    times: Any = full.cast(pa.timestamp("us", tz="UTC"))
    return times
