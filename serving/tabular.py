"""CSV, NDJSON and Parquet files as record batches in the schema's types, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.errors import AppError
from compiler.schema import FeatureMap

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16_384
BLOCK_BYTES = 4 << 20


class TableFileError(AppError):
    """The file of rows cannot be read."""

    code = "rows.file"


def read_batches(path: Path, features: FeatureMap) -> Iterator[pa.RecordBatch]:
    """Batches of a file, by its suffix: ``.csv``, ``.parquet``, else NDJSON.

    Raises:
        TableFileError: it cannot be opened or parsed; ``at`` names file and line.
    """
    import pyarrow as pa

    try:
        if path.suffix == ".csv":
            yield from _csv(path, features)
        elif path.suffix in (".parquet", ".pq"):
            yield from _parquet(path)
        else:
            yield from _ndjson(path, features)
    except (OSError, pa.ArrowException) as error:
        raise TableFileError(f"cannot read rows: {error}", at=str(path)) from error


def read_columns(path: Path, features: FeatureMap) -> tuple[dict[str, list[Any]], int]:
    """All rows of a file as Python columns, for samples that fit in memory.

    Raises:
        TableFileError: as :func:`read_batches`.
    """
    columns: dict[str, list[Any]] = {name: [] for name in features}
    rows = 0
    for batch in read_batches(path, features):
        rows += batch.num_rows
        for name, values in columns.items():
            if name in batch.schema.names:
                values.extend(batch.column(name).to_pylist())
            else:
                values.extend([None] * batch.num_rows)
    return columns, rows


def _csv(path: Path, features: FeatureMap) -> Iterator[pa.RecordBatch]:
    import pyarrow.csv as arrow_csv

    options = arrow_csv.ConvertOptions(
        column_types={name: _type(features[name].type) for name in features},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,  # an empty cell is missing, "" is an empty word
    )
    read = arrow_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    with arrow_csv.open_csv(path, read_options=read, convert_options=options) as reader:
        yield from reader


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as arrow_parquet

    with arrow_parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def _ndjson(path: Path, features: FeatureMap) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            rows.append(_row(line, path, number))
            if len(rows) == BATCH_ROWS:
                yield _batch(rows, features, path)
                rows = []
    if rows:
        yield _batch(rows, features, path)


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TableFileError(f"not JSON: {error}", at=f"{path}:{number}") from error
    if not isinstance(row, dict):
        raise TableFileError("expected an object", at=f"{path}:{number}")
    inner = row.get("features")
    if not isinstance(inner, dict):
        return row
    return {**inner, "_id": row["id"]} if "id" in row else inner


def _batch(rows: list[dict[str, Any]], features: FeatureMap, path: Path) -> pa.RecordBatch:
    import pyarrow as pa

    columns = {}
    for name in [*features, "_id"]:
        values = [row.get(name) for row in rows]
        if name == "_id":
            if any(value is not None for value in values):
                columns[name] = pa.array([None if v is None else str(v) for v in values])
            continue
        kind = _type(features[name].type)
        if features[name].type == "decimal":
            values = [None if v is None else Decimal(str(v)) for v in values]
        try:
            columns[name] = pa.array(values, kind)
        except (pa.ArrowException, OverflowError) as error:
            raise TableFileError(
                f"expected {features[name].type} for {name}: {error}", at=f"{path}, {name}"
            ) from error
    return pa.record_batch(columns)


def _type(feature: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "int": pa.int64(),
        "float": pa.float64(),
        "float32": pa.float64(),
        "decimal": pa.decimal128(38, 9),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }.get(feature, pa.string())
