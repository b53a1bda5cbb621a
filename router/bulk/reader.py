"""Blocks of the wanted units of any file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router.bulk.columns import column_blocks
from router.bulk.csvrows import csv_blocks
from router.bulk.ndjson import ndjson_blocks

if TYPE_CHECKING:
    from router.bulk.blocks import Block, Reading
    from router.bulk.formats import Format
    from router.bulk.units import Unit


def read_blocks(
    path: Path,
    kind: Format,
    units: Sequence[Unit],
    how: Reading,
) -> Iterator[Block]:
    """Blocks of some units of a file, in order; what lies between them is skipped.

    Args:
        path: local file.
        kind: its format.
        units: those that are to be done, in order.
        how: what of it is wanted.

    Raises:
        InputError: the file is damaged or has other columns than it must.
    """
    if kind == "ndjson":
        return ndjson_blocks(path, units, how)
    if kind == "csv":
        return csv_blocks(path, units, how)
    return column_blocks(path, kind, units, how)
