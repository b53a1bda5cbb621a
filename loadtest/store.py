"""A run on disk: ``summary.json`` for people and tools, ``records.npz`` to judge it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest.summary import encode

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.run import Outcome


def write_run(outcome: Outcome, folder: Path) -> None:
    """Write both files; an earlier run in the folder is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_bytes(encode(outcome.summary))
    records = outcome.raw.records
    columns = {name: getattr(records, name) for name in records.__struct_fields__}
    np.savez_compressed(folder / "records.npz", start_ns=outcome.raw.start_ns, **columns)
