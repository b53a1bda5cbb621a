"""Units of work: ranges of rows of one input file, found without decoding the rows.

Parquet and Arrow files know how many rows they hold. Text is looked through once for the ends of
its rows, quickly: a newline is one, in CSV unless an odd number of quotes stands before it. So
every unit can be read from its own place, and the sum of all units is known before the first row
is scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.bulk.errors import InputError
from router.bulk.formats import TEXT, Format

SCAN_BYTES = 4 << 20
NEWLINE, QUOTE, RETURN = 10, 34, 13


class Unit(Struct, frozen=True):
    """A range of rows of one file.

    Attributes:
        file: place of the file in the job's inputs.
        number: of the unit within the file.
        first_row: number of its first row within the file.
        rows: how many.
        offset: text only: byte where it starts.
        size: text only: bytes of it.
        header: CSV only: bytes of the file's first row.
    """

    file: int
    number: int
    first_row: int
    rows: int
    offset: int = 0
    size: int = 0
    header: int = 0


def plan_units(path: Path, kind: Format, file: int, unit_rows: int) -> tuple[Unit, ...]:
    """The units of a file; one without rows when it has none.

    Args:
        path: local file.
        kind: its format.
        file: its place in the job's inputs.
        unit_rows: rows of every unit but the last.

    Raises:
        InputError: it cannot be read.
    """
    import pyarrow as pa

    try:
        if kind in TEXT:
            return tuple(_text_units(path, kind, file, unit_rows))
        rows = _count(path, kind)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot read {path.name} as {kind}: {' '.join(str(error).split())}", at=str(path)
        ) from error
    starts = range(0, max(rows, 1), unit_rows)
    return tuple(
        Unit(file, number, start, min(unit_rows, rows - start))
        for number, start in enumerate(starts)
    )


def _count(path: Path, kind: Format) -> int:
    """Rows of a file that knows its own shape."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    with pa.memory_map(str(path)) as source:
        if kind == "arrows":
            with pa.ipc.open_stream(source) as stream:
                return sum(batch.num_rows for batch in stream)
        with pa.ipc.open_file(source) as reader:
            return sum(
                reader.get_batch(number).num_rows for number in range(reader.num_record_batches)
            )


def _text_units(path: Path, kind: Format, file: int, unit_rows: int) -> Iterator[Unit]:
    """Units of a text file, from one pass over its bytes."""
    header = 0
    start = -1 if kind == "csv" else 0
    first, number, rows, last = 0, 0, 0, 0
    for found in _row_ends(path, quoted=kind == "csv"):
        ends = found
        if start < 0:  # the header is no row
            start = header = int(ends[0])
            ends = ends[1:]
        while len(ends) >= (missing := unit_rows - rows):
            stop = int(ends[missing - 1])
            yield Unit(file, number, first, unit_rows, start, stop - start, header)
            first, number, rows, start = first + unit_rows, number + 1, 0, stop
            ends = ends[missing:]
        rows += len(ends)
        last = int(ends[-1]) if len(ends) else last
    if rows or not first:
        yield Unit(file, number, first, rows, max(start, 0), max(last - start, 0), header)


def _row_ends(path: Path, *, quoted: bool) -> Iterator[NDArray[np.int64]]:
    """Bytes after which rows end, block by block; empty lines are no rows."""
    base, before, odd = 0, 0, False
    last = 0  # byte before the block
    with path.open("rb") as file:
        while block := file.read(SCAN_BYTES):
            data = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(data == NEWLINE)
            if quoted and (odd or QUOTE in block):
                inside = np.logical_xor.accumulate(data == QUOTE) ^ odd
                odd = bool(inside[-1])
                ends = ends[~inside[ends]]
            if len(ends):
                returned = np.where(ends > 0, data[ends - 1], last) == RETURN
                stops = ends + (base + 1)
                sizes = np.diff(stops, prepend=before)
                full = sizes > 1 + returned
                before = int(stops[-1])
                if full.any():
                    yield stops[full]
            base += len(block)
            last = block[-1]
    if base - before > (last == RETURN):
        yield np.asarray([base])
