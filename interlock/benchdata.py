"""Work of ``interlock bench control --only``: ``python -m interlock.benchdata WHAT FOLDER CSV``.

It does what the jobs of the control plane do, without a database, and prints its figures with the
most memory that it had resident.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from loadtest.bench.control_data import BUDGET_S, CSV_MB, PROGRAM, ROWS, Figures
from loadtest.bench.credit import PROTECTED, SEED
from loadtest.errors import LoadTestError

CHUNK = 100_000
JOBS = ("clerk", "cook", "coder", "carer", "driver", "other")


def automl(credit: Path) -> Figures:
    """A search with the usual estimators, protected columns left out."""
    from compiler.models.matrix import to_matrix
    from compiler.schema import OutputSchema
    from control_plane.training.schemas import SearchSpec
    from control_plane.training.search import Material, Search
    from control_plane.training.space import DEFAULTS
    from loadtest.bench.credit import read_credit

    features, columns, words = read_credit(credit)
    assert not set(PROTECTED) & set(features)
    target = np.asarray(words)
    material = Material(
        features, to_matrix(columns, features), target,
        OutputSchema("classification", tuple(sorted(set(words)))), "bad", "credit",
    )  # fmt: skip
    spec = SearchSpec(
        DEFAULTS["classification"], trials=10_000, seconds=BUDGET_S, folds=5, metric="roc_auc",
        seed=SEED,
    )  # fmt: skip
    begun = time.monotonic()
    search = Search(spec, material, [])
    board = [row for row in search.run() if row["state"] == "complete"]
    best = max(board, key=lambda row: row["score"])
    low, high = best["metrics"]["interval"]
    return {
        "auc": best["score"], "half": (high - low) / 2, "trials": float(search.outcome().trials),
        "seconds": time.monotonic() - begun,
    }  # fmt: skip


def made_up(rows: int, seed: int) -> Any:
    """Applicants as an Arrow table: eight numbers, two words, two protected columns, an outcome."""
    import pyarrow as pa

    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"x{place}": random.normal(size=rows).round(6) for place in range(8)}
    job, region = random.integers(0, len(JOBS), rows), random.integers(0, 4, rows)
    columns["job"] = np.asarray(JOBS)[job]
    columns["region"] = np.asarray(["north", "south", "east", "west"])[region]
    columns["sex"] = np.asarray(["f", "m"])[random.integers(0, 2, rows)]
    columns["age"] = random.integers(18, 90, rows)
    signal = columns["x0"] - columns["x1"] + 0.5 * (job == 2) + random.normal(size=rows)
    columns["outcome"] = np.where(signal > 0, "good", "bad")
    return pa.table(columns)


def write_csv(path: Path, *, rows: int = 0, megabytes: int = 0) -> int:
    """Rows until there are so many, or so many MB; how many there are."""
    import pyarrow.csv as arrow_csv

    done = 0
    with path.open("wb") as file:
        while done < rows or file.tell() < megabytes * 1_000_000:
            table = made_up(CHUNK, done)
            options = arrow_csv.WriteOptions(include_header=done == 0, quoting_style="none")
            arrow_csv.write_csv(table, file, options)
            done += CHUNK
    return done


def _declared() -> Any:
    from control_plane.datasets.schemas import Declaration

    return Declaration(
        "applicants", "classification", "made up", "none", target="outcome", positive="bad",
        favourable="good", protected=("sex", "age"),
    )  # fmt: skip


def ingest(folder: Path) -> Figures:
    """A large CSV to a snapshot."""
    from control_plane.datasets.ingest import ingest as read_in

    path, out = folder / "large.csv", folder / "large"
    subprocess.run(  # the writer's memory is not the reader's
        [sys.executable, "-m", PROGRAM, "write", str(path), ""], check=True
    )
    out.mkdir()
    begun = time.monotonic()
    found = read_in(path, "csv", _declared(), out)
    seconds = time.monotonic() - begun
    size = path.stat().st_size / 1e6
    path.unlink()
    return {"mb": size, "rows": float(found.manifest.rows), "seconds": seconds}


def validation(folder: Path) -> Figures:
    """A boosting trained on a tenth of a million rows, judged on all of them."""
    from compiler.models.build import build_package
    from compiler.models.recipe import Recipe
    from control_plane.datasets.files import SnapshotFiles
    from control_plane.datasets.ingest import ingest as read_in
    from control_plane.training import data, fit
    from control_plane.validation import reports, work
    from serving.store import ArtifactStore

    store = folder / "store"
    files = SnapshotFiles(str(store))
    digests = []
    for rows in (CHUNK, ROWS):
        path = folder / f"{rows}.csv"
        write_csv(path, rows=rows)
        with files.incoming() as incoming:
            found = read_in(path, "csv", _declared(), incoming)
            files.publish(incoming, found.digest)
        path.unlink()
        digests.append(found.digest)
    loaded = data.load(files, digests[0])
    split = data.split_rows(loaded.target, len(loaded.matrix), 0.25, SEED, stratify=True)
    assert loaded.target is not None
    matrix, target = loaded.matrix[split.train], loaded.target[split.train]
    recipe = Recipe(
        "classification", "hist_gradient_boosting", {"max_iter": 100, "max_leaf_nodes": 8},
        seed=SEED,
    )  # fmt: skip
    pipeline, _ = fit.fit(recipe, loaded.features, matrix, target)
    built = build_package(
        pipeline, matrix, target, features=loaded.features, output=loaded.manifest.output,
        name="judged", version=1, recipe=recipe, contributors=(), metrics={}, out_dir=folder,
        positive="good",
        lineage={"snapshot": digests[0], "seed": SEED,
                 "split": {"test_fraction": 0.25, "stratified": True}},
    )  # fmt: skip
    ArtifactStore.open(str(store)).publish(built.path)
    order = work.Order(
        UUID(int=0), "judged", 1, built.digest, "applicants",
        digests[1], {},
    )  # fmt: skip
    return _judge(reports, work, order, files, str(store))


def _judge(reports: Any, work: Any, order: Any, files: Any, store: str) -> Figures:
    """The reports of a validation job and its page, each timed."""
    begun = time.monotonic()
    marks: list[tuple[str, float]] = []

    def say(_: float, step: str) -> None:
        if not marks or marks[-1][0] != step:
            marks.append((step, time.monotonic()))

    subject = reports.open_subject(files, store, order)
    documents = work.judged(subject, say)
    documents["predictions"]["baseline"] = {"which": "none", "metrics": {}}
    say(0.0, "page")
    work.render(order, subject, documents, [])
    ends = [*(at for _, at in marks[1:]), time.monotonic()]
    figures = {step: end - at for (step, at), end in zip(marks, ends, strict=True)}
    return figures | {"rows": float(len(subject.rows)), "seconds": time.monotonic() - begun}


def main(what: str, where: Path, credit: Path) -> None:
    """Do one of them and print its figures."""
    if what == "write":
        write_csv(where, megabytes=CSV_MB)
        return
    where.mkdir(parents=True, exist_ok=True)
    found = {
        "automl": lambda: automl(credit),
        "ingest": lambda: ingest(where),
        "validation": lambda: validation(where),
    }[what]()
    print(msgspec.json.encode(found | {"peak_mb": _peak_mb()}).decode())


def _peak_mb() -> float:
    """Most memory that this process had resident; what its parent had does not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LoadTestError("expected VmHWM in /proc/self/status", hint="this needs Linux")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
