"""Rows of CSV as columns: Arrow splits the cells, a cast makes them values.

An empty cell is MISSING and ``""`` an empty text. A row with more or fewer cells than the header is
a row that cannot be scored, not the end of the file. A cell that does not cast is read again as
the router reads a CSV stream, so that both say the same about it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from io import RawIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from compiler.schema import CONTEXT_PREFIX
from router.bulk.blocks import ID, RESERVED, SPLIT, SUBJECT, Bad, Block, Reading, wanted_columns
from router.bulk.errors import InputError
from router.bulk.text import take_slowly
from router.bulk.units import Unit
from router.columnar.batch import arrow_type
from router.wire.csv_rows import read_cell, split_line
from router.wire.native import Row

if TYPE_CHECKING:
    import pyarrow as pa


BLOCK_BYTES = 4 << 20


class _Range(RawIOBase):
    """The header of a file, then a range of its bytes."""

    def __init__(self, file: IO[bytes], unit: Unit) -> None:
        file.seek(0)
        self._header = file.read(unit.header)
        file.seek(unit.offset)
        self._file = file
        self._left = unit.size

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if self._header:
            found, self._header = self._header, b""
            return found
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def csv_blocks(path: Path, units: Sequence[Unit], how: Reading) -> Iterator[Block]:
    """Blocks of some units of a CSV file, in order; arguments as for columnar files.

    Raises:
        InputError: no header, a key column is missing, or the quotes do not match.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        header = file.read(units[0].header) if units else b""
        cells = _Cells(header, how, path)
        for unit in units:
            try:
                yield from _Unit(unit, cells).blocks(file, how.batch_rows)
            except pa.ArrowException as error:
                raise InputError(
                    f"cannot read the rows from {unit.first_row} of {path.name} as csv: "
                    f"{' '.join(str(error).split())}",
                    at=str(path),
                ) from error


class _Unit:
    """Cuts the rows of one unit into blocks; rows of another width keep their place."""

    def __init__(self, unit: Unit, cells: _Cells) -> None:
        self._unit = unit
        self._cells = cells
        self._odd: list[int] = []
        self._bad: dict[int, Bad] = {}

    def _note(self, row: Any) -> str:
        place = row.number - 2  # Arrow counts from 1, and the header is its first row
        insort(self._odd, place)
        message = f"expected {row.expected_columns} cells, got {row.actual_columns}"
        self._bad[place] = Bad("body.csv", message)
        return "skip"

    def blocks(self, file: IO[bytes], batch_rows: int) -> Iterator[Block]:
        """Blocks of the unit."""
        import pyarrow as pa

        unit = self._unit
        batches = self._batches(file)
        waiting: list[Any] = []
        sound, start, done = 0, 0, False  # sound rows that wait, place of the next block
        while True:
            stop = min(start + batch_rows, unit.rows)
            while not done and self._reach(start, sound) < stop:
                batch = next(batches, None)
                if batch is None:
                    done = True
                else:
                    waiting.append(batch)
                    sound += batch.num_rows
            if self._reach(start, sound) < stop:
                raise self._uneven(self._reach(start, sound))
            bad = {at - start: self._bad[at] for at in self._odd if start <= at < stop}
            table = pa.Table.from_batches(waiting, self._cells.schema)
            take = stop - start - len(bad)
            columns = table.slice(0, take).combine_chunks()
            waiting = table.slice(take).to_batches()
            sound -= take
            yield self._cells.block(unit, (start, stop), columns, bad)
            start = stop
            if start == unit.rows:
                break
        if sound or next(batches, None) is not None:
            raise self._uneven(unit.rows + 1)

    def _reach(self, start: int, sound: int) -> int:
        """Place behind the last row that is known, when some sound rows follow ``start``."""
        place = start + sound
        for at in self._odd:
            if at > place:
                break
            if at >= start:
                place += 1
        return place

    def _uneven(self, found: int) -> InputError:
        return InputError(
            f"expected {self._unit.rows} rows from row {self._unit.first_row}, Arrow found "
            f"{'more' if found > self._unit.rows else found}",
            code="bulk.csv",
            hint="a quote inside a cell must be doubled, and the cell quoted",
        )

    def _batches(self, file: IO[bytes]) -> Iterator[pa.RecordBatch]:
        import pyarrow.csv as arrow_csv

        if self._unit.rows == 0:
            return
        source = _Range(file, self._unit)
        with arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                newlines_in_values=True, invalid_row_handler=self._note
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=self._cells.schema,
                include_columns=self._cells.schema.names,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ) as reader:
            yield from reader


class _Cells:
    """Makes values of cells.

    Attributes:
        schema: columns that are read, all of them text.
    """

    def __init__(self, header: bytes, how: Reading, path: Path) -> None:
        import pyarrow as pa

        names = split_line(header.decode("utf-8-sig").rstrip("\r\n")) if header else []
        if not names or len(set(names)) != len(names):
            found = "a column that comes twice" if names else "none"
            raise InputError(f"expected a header of different names, got {found}", at=str(path))
        for key in how.keys:
            if key not in names:
                raise InputError(
                    f"expected a key column {key!r}, got {', '.join(map(str, names))}",
                    code="bulk.key",
                    at=str(path),
                )
        self._endpoint = how.endpoint
        self._keys = how.keys
        self._feature_of = {
            column: feature
            for column, feature in wanted_columns(how.endpoint.content.features).items()
            if column in names
        }
        wanted = {*self._feature_of, *RESERVED, *how.keys}
        self.schema = pa.schema([(name, pa.string()) for name in names if name in wanted])

    def block(
        self, unit: Unit, span: tuple[int, int], cells: pa.Table, bad: dict[int, Bad]
    ) -> Block:
        """A block of some rows.

        Args:
            unit: they belong to.
            span: places of its first row and behind its last, within the unit.
            cells: of the rows that have as many as the header.
            bad: the others, by place within the block; grows by those that do not fit.
        """
        import pyarrow as pa

        start, stop = span
        places = [place for place in range(stop - start) if place not in bad]
        columns, failed = {}, set()
        for name in self.schema.names:
            column = _flat(cells.column(name))
            feature = self._feature_of.get(name)
            if feature is not None:
                column, wrong = _cast(column, arrow_type(self._endpoint.content.features[feature]))
                failed |= wrong
            elif name not in RESERVED:
                continue
            columns[name] = column
        if failed:
            columns, dropped = self._again(cells, columns, sorted(failed))
            bad |= {places[row]: reason for row, reason in dropped.items()}
        batch = pa.record_batch(columns) if columns else _no_columns(len(places))
        return Block(
            unit, stop == unit.rows, unit.first_row + start, stop - start, batch, bad,
            self._key_batch(cells, places, stop - start),
        )  # fmt: skip

    def _again(
        self, cells: pa.Table, columns: dict[str, Any], failed: list[int]
    ) -> tuple[dict[str, Any], dict[int, Bad]]:
        """Read some rows as a stream would; those that fit get their values after all."""
        import numpy as np
        import pyarrow as pa

        dropped: dict[int, Bad] = {}
        values: dict[int, dict[str, Any]] = {}
        for row, found in zip(failed, cells.take(failed).to_pylist(), strict=True):
            taken = take_slowly(self._endpoint, self._row(found))
            if isinstance(taken, Bad):
                dropped[row] = taken
            else:
                values[row] = taken
        if values:
            rows = list(values)
            hit = np.zeros(cells.num_rows, bool)
            hit[rows] = True
            for name, feature in self._feature_of.items():
                fresh = pa.array([values[row][feature] for row in rows], columns[name].type)
                columns[name] = columns[name].to_pylist()
                for row, value in zip(rows, fresh.to_pylist(), strict=True):
                    columns[name][row] = value
                columns[name] = pa.array(columns[name], fresh.type)
        keep = np.ones(cells.num_rows, bool)
        keep[list(dropped)] = False
        mask = pa.array(keep)
        return {name: column.filter(mask) for name, column in columns.items()}, dropped

    def _row(self, cells: dict[str, str | None]) -> Row:
        """Cells as a request."""
        features: dict[str, Any] = {}
        context: dict[str, Any] = {}
        kinds = self._endpoint.content.features
        for column, name in self._feature_of.items():
            cell = cells[column]
            if cell is not None:
                value = read_cell(cell, kinds[name].type)
                if name.startswith(CONTEXT_PREFIX):
                    context[name.removeprefix(CONTEXT_PREFIX)] = value
                else:
                    features[name] = value
        row = Row(
            Raw(msgspec.json.encode(features)), cells.get(ID), cells.get(SUBJECT), cells.get(SPLIT)
        )
        if context:
            row.context = Raw(msgspec.json.encode(context))
        return row

    def _key_batch(self, cells: pa.Table, places: list[int], rows: int) -> pa.RecordBatch | None:
        """Key columns of all rows; those of another width have none."""
        import numpy as np
        import pyarrow as pa

        if not self._keys:
            return None
        source = np.full(rows, -1)
        source[places] = np.arange(len(places))
        picked = pa.array(source, mask=source < 0)
        return pa.record_batch(
            {name: _flat(cells.column(name)).take(picked) for name in self._keys}
        )


def _flat(column: pa.ChunkedArray) -> Any:
    """A column as one array."""
    import pyarrow as pa

    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _no_columns(rows: int) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.record_batch({ID: pa.nulls(rows, pa.string())})


def _cast(column: Any, kind: pa.DataType) -> tuple[Any, set[int]]:
    """Values of cells, and the places of those that are to be looked at again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(kind):
        return column, set()
    try:
        if pa.types.is_boolean(kind):
            return _flags(column)
        values = column.cast(kind)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, kind), {0}
        half = len(column) // 2
        head, wrong = _cast(column.slice(0, half), kind)
        tail, more = _cast(column.slice(half), kind)
        return pa.concat_arrays([head, tail]), wrong | {half + place for place in more}
    if pa.types.is_floating(kind):  # NaN is no number of a request
        odd = pc.and_(pc.invert(pc.is_finite(values)), pc.is_valid(values))
        if pc.any(odd).as_py():
            return values, set(pc.indices_nonzero(odd).to_pylist())
    return values, set()


def _flags(column: Any) -> tuple[Any, set[int]]:
    """``true`` and ``false``; other words are to be looked at again."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.is_in(column, pa.array(["true", "false", None], pa.string()))
    wrong = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    return pc.if_else(plain, column, pa.scalar(None, pa.string())).cast(pa.bool_()), {
        *wrong.tolist()
    }
