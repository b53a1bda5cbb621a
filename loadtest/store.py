"""A run on disk: ``summary.json`` for people and tools, ``records.npz`` to judge it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from loadtest.summary import encode

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.capacity import Capacity
    from loadtest.compare import Comparison
    from loadtest.knee import Knee
    from loadtest.routesaving import RouteSaving
    from loadtest.run import Outcome


def write_run(outcome: Outcome, folder: Path) -> None:
    """Write them and ``run.png``; an earlier run in the folder is replaced."""
    from loadtest.plots import plot_run

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_bytes(encode(outcome.summary))
    plot_run(outcome.summary, folder / "run.png")
    records = outcome.raw.records
    columns = {name: getattr(records, name) for name in records.__struct_fields__}
    np.savez_compressed(folder / "records.npz", start_ns=outcome.raw.start_ns, **columns)


def write_knee(knee: Knee, folder: Path) -> None:
    """Write ``knee.json`` and the curve as ``knee.png``."""
    from loadtest.plots import plot_knee

    _write_document(knee, folder, "knee.json")
    plot_knee(knee, folder / "knee.png")


def write_comparison(found: Comparison, folder: Path) -> None:
    """Write ``compare.json``, ``compare.md`` and ``compare.png``."""
    from loadtest.show_compare import markdown_comparison, plot_comparison

    _write_document(found, folder, "compare.json")
    (folder / "compare.md").write_text(markdown_comparison(found), encoding="utf-8")
    plot_comparison(found, folder / "compare.png")


def write_capacity(capacity: Capacity, folder: Path) -> None:
    """Write ``plan.json`` and ``plan.md``."""
    from loadtest.plantext import markdown_capacity

    _write_document(capacity, folder, "plan.json")
    (folder / "plan.md").write_text(markdown_capacity(capacity), encoding="utf-8")


def write_saving(saving: RouteSaving, folder: Path) -> None:
    """Write ``saving.json``, ``saving.md`` and ``saving.png``."""
    from loadtest.plantext import markdown_saving, plot_saving

    _write_document(saving, folder, "saving.json")
    (folder / "saving.md").write_text(markdown_saving(saving), encoding="utf-8")
    plot_saving(saving, folder / "saving.png")


def _write_document(document: msgspec.Struct, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    (folder / name).write_bytes(text + b"\n")
