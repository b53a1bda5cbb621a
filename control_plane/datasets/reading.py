"""Tables as a stream of blocks of text columns, whatever they came as; memory stays constant.

A CSV is read with every column as text, so that types are decided by all rows and not by the
first block. Empty cells are MISSING; ``""`` is an empty string.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from control_plane.datasets.errors import DataError

MAX_COLUMNS = 2000
MAX_HEADER_BYTES = 1 << 20
BLOCK_BYTES = 2 << 20
MAX_CELL = 10_000
"""Longest text of a cell, in characters."""

Progress = Callable[[float], None]


def columns_of(path: Path, kind: str) -> list[str]:
    """Column names in order.

    Raises:
        DataError: no header, a repeated or empty name, or too many columns.
    """
    names = _parquet_names(path) if kind == "parquet" else _csv_names(path)
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"expected at most {MAX_COLUMNS} columns, got {len(names)}", code="data.columns"
        )
    seen: set[str] = set()
    for place, name in enumerate(names):
        if not name.strip():
            raise DataError(
                f"expected a name for column {place + 1}, got nothing",
                code="data.header",
                hint="the first line of a CSV names the columns",
            )
        if name in seen:
            raise DataError(f"expected each column once, got {name!r} twice", code="data.header")
        seen.add(name)
    return names


def _csv_names(path: Path) -> list[str]:
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head.strip():
        raise DataError("expected a table, got an empty file", code="data.empty")
    try:
        text = head.decode("utf-8-sig", errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely a character cut at the end of the block
            raise _not_text(error.start) from None
        text = head[: error.start].decode("utf-8-sig")
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as error:
        raise DataError(
            f"the header cannot be read: {error}",
            code="data.quoting",
            at="line 1",
            hint="a quote inside a quoted cell is written twice",
        ) from None
    if len(head) == MAX_HEADER_BYTES and "\n" not in text:
        raise DataError(
            f"expected a header of at most {MAX_HEADER_BYTES} bytes", code="data.columns"
        )
    return names


def _parquet_names(path: Path) -> list[str]:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"expected a Parquet file: {_first_line(error)}", code="data.parquet"
        ) from None
    nested = [field.name for field in schema if pa.types.is_nested(field.type)]
    if nested:
        raise DataError(
            f"expected flat columns, got a nested one: {nested[0]!r}",
            code="data.nested",
            at=nested[0],
        )
    return list(schema.names)


def blocks(
    path: Path, kind: str, names: list[str], missing: tuple[str, ...], progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Every block, with every column as text (null = MISSING), in the order of the rows.

    Args:
        path: the file.
        kind: ``csv`` or ``parquet``.
        names: of the columns.
        missing: words that mean MISSING.
        progress: told the share of the file that was read.

    Raises:
        DataError: a row has another number of cells, broken quoting, or bytes that are not UTF-8.
    """
    if kind == "parquet":
        yield from _parquet_blocks(path, names, missing, progress)
        return
    yield from _csv_blocks(path, names, missing, progress)


def _csv_blocks(
    path: Path, names: list[str], missing: tuple[str, ...], progress: Progress
) -> Iterator[pa.RecordBatch]:
    size = max(1, path.stat().st_size)
    bad: list[Any] = []

    def refuse(row: Any) -> str:
        bad.append(row)
        return "error"

    done = 0
    try:
        with pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(
                block_size=BLOCK_BYTES, use_threads=False, column_names=names, skip_rows=1
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=["", *missing],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                done += batch.nbytes
                progress(min(0.99, done / size))
                _refuse_long_cells(batch)
                yield batch
    except pa.ArrowInvalid as error:
        raise _csv_error(error, bad, len(names)) from None


def _csv_error(error: Exception, bad: list[Any], width: int) -> DataError:
    if bad:
        row = bad[0]
        place = f"row {row.number}" if row.number is not None else ""
        text = row.text if len(row.text) <= 80 else row.text[:80] + "..."
        return DataError(
            f"expected {width} cells, got {row.actual_columns}: {text!r}",
            code="data.cells",
            at=place,
            hint="a cell with a comma or a line break must be quoted",
        )
    text = _first_line(error)
    if "UTF8" in text or "UTF-8" in text:
        return _not_text(None)
    if "straddling" in text or "block size" in text:
        return DataError(
            "a quoted cell does not end",
            code="data.quoting",
            hint="look for a quote that is opened and never closed",
        )
    return DataError(f"the table cannot be read: {text}", code="data.csv")


def _not_text(place: int | None) -> DataError:
    return DataError(
        "expected UTF-8 text, got other bytes",
        code="data.encoding",
        at=f"byte {place}" if place is not None else "",
        hint="save the file as UTF-8",
    )


def _refuse_long_cells(batch: pa.RecordBatch) -> None:
    import pyarrow.compute as pc

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        longest = pc.max(pc.binary_length(column)).as_py()
        if longest is not None and longest > MAX_CELL:
            raise DataError(
                f"expected cells of at most {MAX_CELL} bytes, got {longest}",
                code="data.cell_size",
                at=name,
                hint="a quote that is opened and never closed swallows the rows after it",
            )


def _parquet_blocks(
    path: Path, names: list[str], missing: tuple[str, ...], progress: Progress
) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc

    try:
        with pq.ParquetFile(path) as file:
            total, done = max(1, file.metadata.num_rows), 0
            for batch in file.iter_batches(batch_size=32_768, use_threads=False):
                done += batch.num_rows
                progress(min(0.99, done / total))
                columns = []
                for column in batch.columns:
                    text = as_text(column)
                    if missing:
                        gone = pc.is_in(text, value_set=pa.array(missing, pa.string()))
                        text = pc.if_else(gone, pa.scalar(None, pa.string()), text)
                    columns.append(text)
                block = pa.RecordBatch.from_arrays(columns, names=names)
                _refuse_long_cells(block)
                yield block
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the Parquet file cannot be read: {_first_line(error)}", code="data.parquet"
        ) from None


def as_text(column: pa.Array) -> pa.Array:
    """A typed column in the words a CSV would have; NaN is MISSING, as everywhere.

    Raises:
        DataError: a type that has no such words.
    """
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%S")
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        raise DataError(f"columns of type {kind} cannot be used", code="data.type") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
