"""A table over whole columns: chunk by chunk, and only over the rows that are still open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from compiler.errors import AppError
from compiler.rules.columns import Column, missing_column, read_column
from compiler.rules.emit_numpy import SEGMENT, Entry, Lookup, VectorEmitter, entries
from compiler.rules.emit_scalar import build
from compiler.rules.vector import members_of, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from compiler.rules.flat import Flat
    from compiler.schema import FeatureMap

CHUNK_ROWS = 32_768
"""Rows of one call: half as many cost a tenth more (in calls), twice as many gain a tenth at most
and take twice the memory."""
SHRINK = 0.5
"""Share of open rows at which the others are left out of the rules that follow."""


class ColumnError(AppError):
    """A column does not fit the number of rows."""

    code = "rules.column"


class Segment(Struct, frozen=True):
    """Some entries of a table, compiled.

    Attributes:
        route: weights of one chunk.
        leaves: leaf by weight, int16; the table's default at 0.
        counted: leaf and weight add up to this; -1 when they do not.
    """

    route: Callable[..., NDArray[np.uint8]]
    leaves: NDArray[np.int16]
    counted: int


class VectorProgram:
    """A table compiled to vector code."""

    def __init__(self, flat: Flat, features: FeatureMap, on_unknown: str) -> None:
        self.features = features
        self.default = flat.cascade.default
        self.slots: dict[str, int] = {}
        self.lookups: list[Lookup] = []
        self.asks_nan: set[str] = set()
        every = entries(flat, on_unknown)
        self.segments = [
            self._compile(every[at : at + SEGMENT]) for at in range(0, len(every), SEGMENT)
        ]

    def _compile(self, part: Sequence[Entry]) -> Segment:
        emitter = VectorEmitter(self.features, self.slots, self.lookups, self.asks_nan)
        listed = [self.default, *reversed([entry.index for entry in part])]
        leaves = np.array(listed, np.int16)
        flat = np.array_equal(leaves, len(part) - np.arange(len(listed)))
        return Segment(build(emitter.emit(part), "route"), leaves, len(part) if flat else -1)

    def run(self, columns: Mapping[str, Any], rows: int, now_us: int) -> NDArray[np.int16]:
        """Leaf of every row.

        Args:
            columns: by feature; what :func:`read_column` takes, ``rows`` each.
            rows: number of rows.
            now_us: time of the request.

        Raises:
            ColumnError: a column of another length, or not of one dimension.
        """
        read = [self._read(name, columns, rows) for name in self.slots]
        tables = [members_of(table(each.test, read[each.slot], now_us)) for each in self.lookups]
        found = np.full(rows, self.default, np.int16)
        for start in range(0, rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, rows)
            part = (
                read if stop - start == rows else [cut(each, slice(start, stop)) for each in read]
            )
            self._chunk(part, found[start:stop], now_us, tables)
        return found

    def _read(self, name: str, columns: Mapping[str, Any], rows: int) -> Column:
        if name not in columns:
            return missing_column(self.features[name], rows)
        column = read_column(self.features[name], columns[name], want_nan=name in self.asks_nan)
        if column.data.shape != (rows,):
            raise ColumnError(
                f"expected {rows} values in one dimension, got shape {column.data.shape}",
                at=name,
                hint="every column needs one value per row",
            )
        return column

    def _chunk(
        self, columns: list[Column], found: NDArray[np.int16], now_us: int, tables: list[Any]
    ) -> None:
        """Decide one chunk, segment by segment."""
        open_rows: NDArray[np.intp] | None = None  # None is all of them
        done: NDArray[np.bool_] | None = None
        last = len(self.segments) - 1
        for number, segment in enumerate(self.segments):
            count = len(found) if open_rows is None else len(open_rows)
            weights = segment.route(columns, count, now_us, tables)
            if done is not None:
                weights[done] = 0
            if number == last == 0:
                if segment.counted >= 0:  # ten times cheaper than a gather
                    np.subtract(np.int16(segment.counted), weights, out=found)
                else:
                    np.take(segment.leaves, weights, out=found)
                return
            hit = weights != 0
            places = hit if open_rows is None else open_rows[hit]
            found[places] = segment.leaves[weights[hit]]
            if number == last:
                return
            done = hit if done is None else done | hit
            left = np.flatnonzero(~done)
            if not len(left):
                return
            if len(left) <= SHRINK * count:
                open_rows = left if open_rows is None else open_rows[left]
                columns = [cut(each, left) for each in columns]
                done = None


def cut(column: Column, rows: Any) -> Column:
    """Some rows of a column."""
    return Column(
        column.data[rows],
        None if column.present is None else column.present[rows],
        column.values,
        None if column.nan is None else column.nan[rows],
    )
