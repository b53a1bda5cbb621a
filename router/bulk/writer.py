"""One part: a unit's answers in one file, finished under a temporary name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from router.bulk.errors import OutputError
from router.bulk.formats import SUFFIX_OF, Format
from router.bulk.jsonlines import json_lines

if TYPE_CHECKING:
    import pyarrow as pa

REPEATED = ("rule", "model", "version", "decision", "label", "value", "error")
"""Columns of few different values: the others would only try out a dictionary in vain."""


def part_name(file: int, unit: int, kind: Format) -> str:
    """Name of a part: place of its input file, number of its unit."""
    return f"part-{file:05d}-{unit:05d}{SUFFIX_OF[kind]}"


def write_part(table: pa.Table, path: Path, kind: Format) -> None:
    """Write a part and force it to the disk; equal tables give equal bytes.

    Raises:
        OutputError: no room, or not allowed; nothing is left.
    """
    import pyarrow as pa

    try:
        with path.open("wb") as file:
            _write(table.combine_chunks(), file, kind)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, pa.ArrowException) as error:
        path.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise OutputError(
            f"cannot write a part: {reason}",
            at=str(path.parent),
            hint="make room, then run the same line with --resume",
        ) from error


def _write(table: pa.Table, file: object, kind: Format) -> None:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    if kind == "parquet":
        pq.write_table(
            table, file, compression="zstd", row_group_size=max(1, table.num_rows),
            use_dictionary=[name for name in REPEATED if name in table.column_names],
            write_statistics=["row"],
        )  # fmt: skip
    elif kind == "csv":
        arrow_csv.write_csv(table, file)
    elif kind == "ndjson":
        for line in json_lines(table):
            file.write(line)  # type: ignore[attr-defined]
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        make = pa.ipc.new_stream if kind == "arrows" else pa.ipc.new_file
        with make(file, table.schema, options=options) as writer:
            writer.write_table(table)
