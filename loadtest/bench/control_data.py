"""Data, training and validation at their sizes: a search, a large ingest, a million rows judged.

Each runs in a process of its own, whose memory is measured: what the benchmark itself holds is not
mistaken for it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from loadtest.bench.models import Line
from loadtest.errors import LoadTestError

KINDS = ("automl", "ingest", "validation")
BUDGET_S = 60.0
CSV_MB = 300
ROWS = 1_000_000
PROGRAM = "interlock.benchdata"
"""Knows the control plane, which this package does not."""
Figures = dict[str, float]


def measure_data(
    wanted: tuple[str, ...], folder: Path, credit: Path, tell: Callable[[str], None]
) -> Iterator[Line]:
    """Figures of some of ``KINDS``.

    Args:
        wanted: which.
        folder: for files; a few hundred MB.
        credit: German credit CSV.
        tell: told each step.

    Raises:
        LoadTestError: a process failed; shows its last words.
    """
    if "automl" in wanted:
        tell(f"searching for {BUDGET_S:.0f} s on the German credit data")
        found = _apart("automl", folder, credit)
        yield Line("automl", "area under the ROC curve, 5 folds", found["auc"], "", ">= 0.78")
        yield Line("automl", "half of its 95% interval", found["half"], "")
        yield Line("automl", "recipes tried", found["trials"], "")
        yield Line("automl", "time", found["seconds"], "s")
    if "ingest" in wanted:
        tell(f"writing a CSV of {CSV_MB} MB, and ingesting it")
        found = _apart("ingest", folder, credit)
        yield Line("ingest", "size of the CSV", found["mb"], "MB")
        yield Line("ingest", "rows", found["rows"], "rows")
        yield Line("ingest", "time", found["seconds"], "s")
        yield Line("ingest", "largest memory of the process", found["peak_mb"], "MB", "<= 400")
    if "validation" in wanted:
        tell(f"training on, and validating over {ROWS:,} rows")
        found = _apart("validation", folder, credit)
        yield Line("validation", "rows", found["rows"], "rows")
        for name in ("scoring", "predictions", "fairness", "drift", "explanations", "page"):
            yield Line("validation", name, found[name], "s")
        yield Line("validation", "all four reports and the page", found["seconds"], "s", "<= 60")
        yield Line("validation", "largest memory of the process", found["peak_mb"], "MB")


def _apart(what: str, folder: Path, credit: Path) -> Figures:
    command = [sys.executable, "-m", PROGRAM, what, str(folder), str(credit)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise LoadTestError(f"{what} failed: {found.stderr.strip()[-800:]}")
    return msgspec.json.decode(found.stdout.splitlines()[-1], type=Figures)
