"""Answers as NDJSON: one object per row, ``outputs`` as it is, keys as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 8192
JSON_COLUMNS = ("outputs",)
"""Columns whose text is JSON already."""


def json_lines(table: pa.Table) -> Iterator[bytes]:
    """Chunks of whole lines."""
    names = table.schema.names
    fields = [(f"c{number}", Any) for number in range(len(names))]
    rename = {f"c{number}": name for number, name in enumerate(names)}
    row = msgspec.defstruct("AnswerRow", fields, rename=rename, gc=False, frozen=True)
    encode = msgspec.json.Encoder(decimal_format="number").encode_lines
    for start in range(0, table.num_rows, CHUNK_ROWS):
        part = table.slice(start, CHUNK_ROWS)
        columns = []
        for name in names:
            values = part.column(name).to_pylist()
            if name in JSON_COLUMNS:
                values = [None if v is None else Raw(v.encode()) for v in values]
            columns.append(values)
        yield encode(list(map(row, *columns)))
