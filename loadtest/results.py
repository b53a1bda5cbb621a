"""Stored results, read back: summaries, knees and raw records."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from loadtest.capacity import Capacity
from loadtest.compare import Comparison
from loadtest.errors import LoadTestError
from loadtest.knee import Knee
from loadtest.record import Records
from loadtest.routesaving import RouteSaving
from loadtest.summary import Summary

if TYPE_CHECKING:
    from pathlib import Path

Document = TypeVar("Document", bound=msgspec.Struct)


def read_summary(path: Path) -> Summary:
    """A ``summary.json``, or the one in a folder.

    Raises:
        LoadTestError: missing, or not a summary of this version.
    """
    return _read(path / "summary.json" if path.is_dir() else path, Summary)


def read_summaries(path: Path) -> list[Summary]:
    """Every summary under a folder, or the one in a file, in the order of their paths."""
    if path.is_file():
        return [read_summary(path)]
    found = [read_summary(file) for file in sorted(path.rglob("summary.json"))]
    if not found:
        raise LoadTestError("expected summary.json files in it, got none", at=str(path))
    return found


def read_knee(path: Path) -> Knee:
    """A ``knee.json``, or the one in a folder.

    Raises:
        LoadTestError: missing, or not a knee of this version.
    """
    return _read(path / "knee.json" if path.is_dir() else path, Knee)


def read_comparison(path: Path) -> Comparison:
    """A ``compare.json``, or the one in a folder.

    Raises:
        LoadTestError: missing, or not a comparison of this version.
    """
    return _read(path / "compare.json" if path.is_dir() else path, Comparison)


def read_capacity(path: Path) -> Capacity:
    """A folder's ``plan.json``."""
    return _read(path / "plan.json", Capacity)


def read_saving(path: Path) -> RouteSaving:
    """A folder's ``saving.json``."""
    return _read(path / "saving.json", RouteSaving)


def read_knees(path: Path) -> list[Knee]:
    """Every knee under a folder, or the one in a file; none where there are only runs.

    Raises:
        LoadTestError: there is no such folder or file, or it is no knee of this version.
    """
    if path.is_file():
        return [read_knee(path)] if path.name != "summary.json" else []
    if not path.exists():
        raise LoadTestError("expected knee.json or a folder of them, there is none", at=str(path))
    return [read_knee(file) for file in sorted(path.rglob("knee.json"))]


def read_records(folder: Path, summary: Summary) -> tuple[Records, int]:
    """Records of a stored run's measured part, and the monotonic nanosecond where it begins."""
    with np.load(folder / "records.npz", allow_pickle=False) as file:
        records = Records(*(file[name] for name in Records.__struct_fields__))
        begin = int(file["start_ns"]) + int(summary.warmup_s * 1e9)
    return records.take(records.scheduled >= begin), begin


def _read(path: Path, kind: type[Document]) -> Document:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(path)) from None
    except msgspec.MsgspecError as error:
        raise LoadTestError(f"not a {kind.__name__.lower()}: {error}", at=str(path)) from None
