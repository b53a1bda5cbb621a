"""Rows to send, from files, from audit records or drawn; and their bodies on the wire."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from loadtest.draws import draw_rows
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compiler.schema import FeatureMap

MOST = 100_000
Row = dict[str, Any]
"""A request object: ``features`` and, when known, ``subject``, ``id``, ``context``."""


class Body(Struct, frozen=True):
    """A body with the headers that belong to it."""

    data: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def rows(
    *,
    payload: Path | None,
    body: str | None,
    replay: Path | None,
    features: FeatureMap | None,
    variants: int,
    rules: dict[str, Any] | None = None,
    seed: int = 1,
) -> list[Row]:
    """Rows from the one source that is given, else drawn from the schema.

    Raises:
        LoadTestError: no source, an unreadable file, or a line that is not an object.
    """
    if body is not None:
        return [_request(body.encode(), "--body")]
    if replay is not None:
        return [row for row, _ in read_records(replay)]
    if payload is not None:
        return read_payload(payload, features)
    if features is None:
        raise LoadTestError(
            "expected a source of request bodies",
            at="--payload",
            hint="give --payload FILE, --body JSON, --schema FILE, or --home DIR of a stack that "
            "serves the endpoint",
        )
    return draw_rows(features, variants, seed=seed, rules=rules)


def read_payload(path: Path, features: FeatureMap | None) -> list[Row]:
    """Rows of an NDJSON, CSV or Parquet file.

    Columns that the schema does not have are left out of CSV and Parquet rows (a target, say);
    reserved columns are ``_id``, ``_subject`` and ``_context.NAME``.

    Raises:
        LoadTestError: unreadable, empty, too long, or not of its format.
    """
    try:
        if path.suffix in {".csv", ".parquet", ".pq"}:
            found = [_columns_request(row, features) for row in _read_table(path)]
        else:
            lines = path.read_bytes().splitlines()
            found = [
                _request(line, f"{path}:{number}")
                for number, line in enumerate(lines, 1)
                if line.strip()
            ]
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror or error}", at=str(path)) from None
    if not 1 <= len(found) <= MOST:
        raise LoadTestError(f"expected 1 to {MOST} rows, got {len(found)}", at=str(path))
    return found


def _read_table(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa

    try:
        if path.suffix == ".csv":
            from pyarrow import csv

            convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
            table = csv.read_csv(path, convert_options=convert)
        else:
            from pyarrow import parquet

            table = parquet.read_table(path)
        found: list[dict[str, Any]] = table.slice(0, MOST).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise LoadTestError(f"not a readable table: {error}", at=str(path)) from None
    return found


def _columns_request(row: dict[str, Any], features: FeatureMap | None) -> Row:
    request: Row = {"features": {}}
    for name, value in row.items():
        if isinstance(value, float) and math.isnan(value):
            continue
        if name in {"_id", "_subject"}:
            request[name[1:]] = str(value)
        elif name.startswith("_context."):
            request.setdefault("context", {})[name.removeprefix("_context.")] = value
        elif features is None or name in features:
            request["features"][name] = value
    return request


def _request(line: bytes, at: str) -> Row:
    """A request object, or an object of features wrapped into one."""
    try:
        value: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadTestError(f"expected JSON, got {line[:60]!r} ({error})", at=at) from None
    if not isinstance(value, dict):
        raise LoadTestError(f"expected an object, got {type(value).__name__}", at=at)
    known = isinstance(value.get("features"), dict) or "rows" in value or "inputs" in value
    return value if known else {"features": value}


def read_records(path: Path) -> list[tuple[Row, int]]:
    """Audit records as requests with the nanosecond at which each was received, in time order.

    Raises:
        LoadTestError: a line without features or time.
    """
    found: list[tuple[Row, int]] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(path)) from None
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.json.decode(line)
            features = record["features"]
            if isinstance(features, str):
                features = msgspec.json.decode(features)
            row: Row = {"features": features}
            if isinstance(record.get("context"), dict):
                row["context"] = record["context"]
            found.append((row, _received_ns(record)))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise LoadTestError(
                f"expected an audit record with features and received_at ({error})",
                at=f"{path}:{number}",
            ) from None
    if not found:
        raise LoadTestError("expected at least one audit record", at=str(path))
    return sorted(found, key=lambda pair: pair[1])


def _received_ns(record: dict[str, Any]) -> int:
    if "received_ns" in record:
        return int(record["received_ns"])
    from datetime import UTC, datetime

    time = datetime.fromisoformat(str(record["received_at"]))
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e9)


def encode_all(
    source: Sequence[Row],
    body_format: Literal["json", "stream", "v2", "v2-binary"],
    batch_rows: int,
    features: FeatureMap | None,
) -> list[Body]:
    """Bodies of a format, ``batch_rows`` rows in each."""
    if body_format == "json":
        if batch_rows == 1:
            return [Body(msgspec.json.encode(row)) for row in source]
        return [Body(msgspec.json.encode({"rows": part})) for part in _batches(source, batch_rows)]
    if body_format == "stream":
        parts = [b"\n".join(map(msgspec.json.encode, p)) for p in _batches(source, batch_rows)]
        return [Body(part + b"\n", "application/x-ndjson") for part in parts]
    binary = body_format == "v2-binary"
    return [encode_v2(part, features, binary=binary) for part in _batches(source, batch_rows)]


def _batches(source: Sequence[Row], size: int) -> Iterable[list[Row]]:
    """Parts of one size; the last one is filled from the beginning."""
    for at in range(0, len(source), size):
        yield [source[(at + k) % len(source)] for k in range(size)]


_TENSORS = {"int": "INT64", "float": "FP64", "float32": "FP32", "bool": "BOOL"}
_PACKING = {"INT64": "q", "FP64": "d", "FP32": "f", "BOOL": "?"}


def encode_v2(part: list[Row], features: FeatureMap | None, *, binary: bool) -> Body:
    """An Open Inference Protocol request with one tensor per feature.

    A feature without a value in any row is left out; one without a value in some rows cannot be
    said in a tensor.

    Raises:
        LoadTestError: such a feature.
    """
    names = list(features) if features else list(part[0]["features"])
    inputs: list[dict[str, Any]] = []
    raw = b""
    for name in names:
        values = [row["features"].get(name) for row in part]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise LoadTestError(
                f"feature {name!r} is missing in some rows of a batch, which a tensor cannot say",
                at="--batch-rows",
            )
        kind = _tensor_type(features[name].type if features else "", values[0])
        tensor: dict[str, Any] = {"name": name, "shape": [len(part)], "datatype": kind}
        if binary:
            packed = _pack(kind, values)
            tensor["parameters"] = {"binary_data_size": len(packed)}
            raw += packed
        else:
            tensor["data"] = [str(v) for v in values] if kind == "BYTES" else values
        inputs.append(tensor)
    head = msgspec.json.encode({"inputs": inputs})
    if not binary:
        return Body(head)
    length = ("Inference-Header-Content-Length", str(len(head)))
    return Body(head + raw, "application/octet-stream", (length,))


def _tensor_type(declared: str, example: Any) -> str:
    if declared:
        return _TENSORS.get(declared, "BYTES")
    if isinstance(example, bool):
        return "BOOL"
    return {int: "INT64", float: "FP64"}.get(type(example), "BYTES")


def _pack(kind: str, values: list[Any]) -> bytes:
    """Little-endian values; texts each with their length in four bytes before them."""
    if kind != "BYTES":
        return struct.pack(f"<{len(values)}{_PACKING[kind]}", *values)
    words = [str(value).encode() for value in values]
    return b"".join(struct.pack("<I", len(word)) + word for word in words)
