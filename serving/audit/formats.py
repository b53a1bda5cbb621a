r"""Rows of evidence as NDJSON, CSV and Parquet, and back to the exact values under the hash.

JSON columns keep their exact text, because the hash is over it. In NDJSON they stand as JSON (as a
string when the text has a line break), in CSV and Parquet as text. CSV writes null as ``\N``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal, Protocol
from uuid import UUID

import msgspec

from compiler.errors import AppError
from serving.audit.row import COLUMNS, PLACE

Format = Literal["ndjson", "csv", "parquet"]
NULL = "\\N"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK_ROWS = 5000

TYPES: dict[str, str] = {
    "id": "uuid", "record_id": "uuid", "received_at": "time", "decided_at": "time", "at": "time",
    "created_at": "time", "release": "int", "version": "int", "status": "int", "latency_us": "int",
    "explain": "int", "rows": "int", "schema_version": "int", "seq": "int", "batch": "int",
    "leaf": "int", "unknown": "texts", "defaults": "texts", "reasons": "texts", "features": "json",
    "context": "json", "outputs": "json", "error": "json", "body": "jsontext", "phi": "numbers",
    "base": "float", "residual": "float",
}  # fmt: skip
"""Type of each column that is not plain text."""


class FormatError(AppError):
    """The export cannot be read."""

    code = "audit.export"


Values = list[Any]
Placed = tuple[Values, int, int]
"""Values in the order of the kind's columns, then batch and leaf."""


def columns_of(kind: str) -> tuple[str, ...]:
    """Column names of an export, in order."""
    return (*COLUMNS[kind], *PLACE)


def time_text(microseconds: int) -> str:
    """RFC 3339 with microseconds, UTC.

    >>> time_text(1_000_001)
    '1970-01-01T00:00:01.000001Z'
    """
    at = EPOCH + timedelta(microseconds=microseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_us(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def to_text(name: str, value: Any) -> str | int | float | None:
    """A value as a cell of CSV or Parquet."""
    kind = TYPES.get(name, "text")
    if value is None or kind in ("int", "float", "text", "jsontext"):
        cell: str | int | float | None = value
        return cell
    if kind == "uuid":
        return str(UUID(bytes=value))
    if kind == "time":
        return time_text(value)
    if kind == "json":
        return str(value, "utf-8")
    return json.dumps(value, ensure_ascii=False, sort_keys=kind == "numbers")


def from_text(name: str, cell: Any) -> Any:
    """The value of a cell."""
    kind = TYPES.get(name, "text")
    if cell is None:
        return None
    if kind == "int":
        return int(cell)
    if kind == "float":
        return float(cell)
    if kind in ("uuid", "time"):
        value = UUID(cell).bytes if kind == "uuid" else time_us(cell)
        if to_text(name, value) != cell:  # one value has one text, so that every byte matters
            raise ValueError(f"{cell!r} is not how an export writes it")
        return value
    if kind == "json":
        return cell.encode()
    if kind == "texts":
        return json.loads(cell)
    if kind == "numbers":
        return msgspec.json.decode(cell, type=dict[str, float])
    return cell


def to_line(names: Sequence[str], row: Placed) -> bytes:
    """One NDJSON line, without its end."""
    values: dict[str, Any] = {}
    for name, value in zip(names, [*row[0], row[1], row[2]], strict=True):
        kind = TYPES.get(name, "text")
        if value is None or kind in ("int", "float", "text", "texts", "numbers"):
            values[name] = value
        elif kind in ("json", "jsontext"):
            raw = value if isinstance(value, bytes) else value.encode()
            values[name] = raw.decode() if b"\n" in raw or b"\r" in raw else msgspec.Raw(raw)
        else:
            values[name] = to_text(name, value)
    return msgspec.json.encode(values)


def from_line(names: Sequence[str], line: bytes) -> Placed:
    """The row of an NDJSON line."""
    found = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    values: list[Any] = []
    for name in names:
        raw = bytes(found[name])
        kind = TYPES.get(name, "text")
        if raw == b"null":
            values.append(None)
        elif kind in ("json", "jsontext"):
            text = msgspec.json.decode(raw, type=str).encode() if raw[:1] == b'"' else raw
            values.append(text if kind == "json" else text.decode())
        elif kind == "numbers":
            values.append(msgspec.json.decode(raw, type=dict[str, float]))
        elif kind in ("int", "float", "text", "texts"):
            values.append(msgspec.json.decode(raw))
        else:
            values.append(from_text(name, msgspec.json.decode(raw, type=str)))
    return values[:-2], values[-2], values[-1]


class Sink(Protocol):
    """Where an export goes."""

    def write(self, rows: Sequence[Placed]) -> None:
        """Add rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class NdjsonSink:
    """One JSON object per line."""

    def __init__(self, kind: str, file: IO[bytes]) -> None:
        self._names = columns_of(kind)
        self._file = file

    def write(self, rows: Sequence[Placed]) -> None:
        """Add rows."""
        self._file.writelines(to_line(self._names, row) + b"\n" for row in rows)

    def close(self) -> None:
        """Finish the file."""
        self._file.flush()


class CsvSink:
    """A header and one line per row, RFC 4180."""

    def __init__(self, kind: str, file: IO[bytes]) -> None:
        import io

        self._names = columns_of(kind)
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text)
        self._csv.writerow(self._names)

    def write(self, rows: Sequence[Placed]) -> None:
        """Add rows."""
        for values, batch, leaf in rows:
            cells = [
                to_text(n, v) for n, v in zip(self._names, [*values, batch, leaf], strict=True)
            ]
            self._csv.writerow([NULL if cell is None else cell for cell in cells])

    def close(self) -> None:
        """Finish the file."""
        self._text.flush()
        self._text.detach()


class ParquetSink:
    """Columns as numbers and text; zstd."""

    def __init__(self, kind: str, file: IO[bytes]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._names = columns_of(kind)
        types = {"int": pa.int64(), "float": pa.float64()}
        fields = [pa.field(n, types.get(TYPES.get(n, "text"), pa.string())) for n in self._names]
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Sequence[Placed]) -> None:
        """Add rows as one row group."""
        import pyarrow as pa

        lines = [[*values, batch, leaf] for values, batch, leaf in rows]
        arrays = [
            pa.array([to_text(name, line[k]) for line in lines], self._schema.field(k).type)
            for k, name in enumerate(self._names)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


SINKS: dict[str, type[NdjsonSink | CsvSink | ParquetSink]] = {
    "ndjson": NdjsonSink,
    "csv": CsvSink,
    "parquet": ParquetSink,
}


def format_of(path: Path) -> Format:
    """Format by a file's suffix; anything unknown is NDJSON."""
    if path.suffix == ".csv":
        return "csv"
    return "parquet" if path.suffix == ".parquet" else "ndjson"


def read_rows(kind: str, path: Path) -> Iterator[Placed]:
    """Rows of an export in the order of the file.

    Raises:
        FormatError: a row is not of this format; ``at`` names its number.
    """
    names = columns_of(kind)
    number = 0
    try:
        for number, row in enumerate(_read(names, path), start=1):  # noqa: B007 - named in errors
            yield row
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise FormatError(
            f"expected a row of {kind}, got {type(error).__name__}: {error}",
            at=f"{path} row {number + 1}",
        ) from error


def _read(names: Sequence[str], path: Path) -> Iterator[Placed]:
    kind = format_of(path)
    if kind == "ndjson":
        with path.open("rb") as file:
            for line in file:
                yield from_line(names, line)
        return
    for cells in _csv_cells(names, path) if kind == "csv" else _parquet_cells(names, path):
        values = [from_text(name, cell) for name, cell in zip(names, cells, strict=True)]
        yield values[:-2], values[-2], values[-1]


def _csv_cells(names: Sequence[str], path: Path) -> Iterator[list[Any]]:
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != list(names):
            raise ValueError("the header is not that of an export")
        for row in rows:
            yield [None if cell == NULL else cell for cell in row]


def _parquet_cells(names: Sequence[str], path: Path) -> Iterator[Iterable[Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for table in file.iter_batches(CHUNK_ROWS, columns=list(names)):
            yield from zip(*(table.column(name).to_pylist() for name in names), strict=True)
