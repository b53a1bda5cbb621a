"""Names of the file formats a job reads and writes."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from router.bulk.errors import BulkError

Format = Literal["parquet", "arrow", "arrows", "ndjson", "csv"]
FORMATS: tuple[Format, ...] = ("parquet", "arrow", "arrows", "ndjson", "csv")
SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrows",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
}
"""``arrow`` is the IPC file with its index, ``arrows`` the stream without one."""
SUFFIX_OF: dict[Format, str] = {
    "parquet": ".parquet",
    "arrow": ".arrow",
    "arrows": ".arrows",
    "ndjson": ".ndjson",
    "csv": ".csv",
}
TEXT: tuple[Format, ...] = ("ndjson", "csv")
"""Formats without types and row counts of their own."""


def known_format(name: str) -> Format | None:
    """Format of a file by its suffix; None when it is none of ours."""
    return SUFFIXES.get(PurePosixPath(name).suffix.lower())


def format_of(name: str) -> Format:
    """Format of a file by its suffix.

    Raises:
        BulkError: the suffix says nothing.
    """
    found = known_format(name)
    if found is None:
        raise BulkError(
            f"expected a file ending in {', '.join(SUFFIXES)}, got {name!r}",
            code="bulk.format",
            at=name,
            hint="rename it: the suffix says how its rows are read",
        )
    return found
