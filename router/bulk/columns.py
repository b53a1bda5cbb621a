"""Rows of Parquet and Arrow files, cut into the blocks of the wanted units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from router.bulk.blocks import RESERVED, Block, Reading, wanted_columns
from router.bulk.errors import InputError
from router.bulk.formats import Format
from router.bulk.units import Unit

if TYPE_CHECKING:
    import pyarrow as pa


Piece = tuple[int, "pa.RecordBatch"]


def column_blocks(
    path: Path,
    kind: Format,
    units: Sequence[Unit],
    how: Reading,
) -> Iterator[Block]:
    """Blocks of some units of a columnar file, in order.

    Args:
        path: local file.
        kind: ``parquet``, ``arrow`` or ``arrows``.
        units: those that are to be done, in order; what lies between is skipped.
        how: what of it is wanted.

    Raises:
        InputError: the file is damaged, or lacks a key column.
    """
    import pyarrow as pa

    try:
        source = _parquet(path, units, how) if kind == "parquet" else _arrow(path, kind, units, how)
        yield from _cut(source, units, how)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot read {path.name} as {kind}: {' '.join(str(error).split())}", at=str(path)
        ) from error


def _columns(known: Sequence[str], how: Reading, path: Path) -> list[str]:
    """Columns to read, in the order of the file."""
    for key in how.keys:
        if key not in known:
            raise InputError(
                f"expected a key column {key!r}, got {', '.join(known)}",
                code="bulk.key",
                at=str(path),
            )
    wanted = {*wanted_columns(how.endpoint.content.features), *RESERVED, *how.keys}
    return [name for name in known if name in wanted]


def _needed(first: int, rows: int, units: Sequence[Unit]) -> bool:
    """Whether a range of rows holds some of the units."""
    return any(
        unit.first_row < first + rows and first < unit.first_row + unit.rows for unit in units
    )


def _parquet(path: Path, units: Sequence[Unit], how: Reading) -> Iterator[Piece]:
    """Record batches of the row groups that are needed."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=True) as file:
        names = _columns(file.schema_arrow.names, how, path)
        first = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if _needed(first, rows, units):
                place = first
                for batch in file.iter_batches(
                    batch_size=how.batch_rows, row_groups=[group], columns=names, use_threads=False
                ):
                    yield place, batch
                    place += batch.num_rows
            first += rows
        if not first:
            yield 0, _empty(file.schema_arrow, names)


def _arrow(path: Path, kind: Format, units: Sequence[Unit], how: Reading) -> Iterator[Piece]:
    """Record batches of an Arrow file or stream that are needed."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        opened = pa.ipc.open_stream(source) if kind == "arrows" else pa.ipc.open_file(source)
        with opened as reader:
            names = _columns(reader.schema.names, how, path)
            batches = (
                iter(reader)
                if kind == "arrows"
                else (reader.get_batch(number) for number in range(reader.num_record_batches))
            )
            first = 0
            for batch in batches:
                if _needed(first, batch.num_rows, units):
                    yield first, batch.select(names)
                first += batch.num_rows
            if not first:
                yield 0, _empty(reader.schema, names)


def _empty(schema: pa.Schema, names: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], pa.schema([schema.field(name) for name in names]))


def _cut(pieces: Iterator[Piece], units: Sequence[Unit], how: Reading) -> Iterator[Block]:
    """Pieces of any size as blocks of the wanted units."""
    import pyarrow as pa

    with closing(pieces):  # type: ignore[type-var]
        place, piece = next(pieces)
        for unit in units:
            end = unit.first_row + unit.rows
            at = unit.first_row
            while True:
                stop = min(at + how.batch_rows, end)
                parts = []
                row = at
                while True:
                    while place + piece.num_rows <= row < stop:
                        place, piece = next(pieces)
                    parts.append(piece.slice(row - place, stop - row))
                    row += parts[-1].num_rows
                    if row >= stop:
                        break
                whole = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
                yield Block(
                    unit, stop == end, at, stop - at, whole,
                    keys=whole.select(list(how.keys)) if how.keys else None,
                )  # fmt: skip
                at = stop
                if at == end:
                    break
