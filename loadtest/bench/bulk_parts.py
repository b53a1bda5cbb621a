"""What the bulk benchmark works on: three boosted models, rows, a bare loop, a peer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from compiler.models.build import build_package
from compiler.models.session import open_session
from compiler.package import read_package
from compiler.schema import Feature, FeatureMap, OutputSchema
from router.endpoint import Endpoint
from router.release.build import assemble
from router.release.spec import ModelRef, ReleaseContent, canonical, digest
from serving.engine import Engine

WIDTH, TREES, TRAIN_ROWS = 20, 100, 1000
NAMES = ("quick_approval", "standard_underwriting", "risk_ensemble")
OUTPUT = OutputSchema("classification", ("bad", "good"))
RULES = """\
IF x0 < -0.5 AND x1 > 0 THEN quick_approval AS small_and_safe
ELSE IF x0 > 0.5 THEN risk_ensemble AS large_or_long
ELSE standard_underwriting
"""
DECISIONS = """\
IF output.probability.bad < 0.3 THEN approve AS low_risk
ELSE IF output.probability.bad < 0.5 THEN refer AS medium_risk
ELSE decline
"""


class Bench(Struct, frozen=True, eq=False):
    """What is measured.

    Attributes:
        endpoint: three models of 100 trees over 20 numbers, a rule and a decision table.
        fitted: the scikit-learn models, by name.
        sessions: plain ONNX Runtime sessions, by name.
    """

    endpoint: Endpoint
    fitted: dict[str, Any]
    sessions: dict[str, Any]


def build(folder: Path, progress: Callable[[str], None]) -> Bench:
    """Train, package and assemble."""
    features: FeatureMap = {f"x{place}": Feature("float") for place in range(WIDTH)}
    fitted = {}
    for seed, name in enumerate(NAMES):
        progress(f"training {name}")
        random = np.random.default_rng(seed)
        matrix = random.normal(size=(TRAIN_ROWS, WIDTH)).astype(np.float32)
        noise = random.normal(size=TRAIN_ROWS)
        target = np.where(matrix[:, seed : seed + 3].sum(axis=1) + noise > 0, "good", "bad")
        model = GradientBoostingClassifier(n_estimators=TREES, random_state=seed)
        model.fit(matrix, target)
        build_package(
            model, matrix, target, features=features, output=OUTPUT, name=name, version=1,
            recipe=None, lineage={}, contributors=(), metrics={}, out_dir=folder / name,
        )  # fmt: skip
        fitted[name] = model
    sessions = {
        name: open_session(read_package(_package(folder, name)).files["model.onnx"])
        for name in NAMES
    }
    return Bench(load(folder), fitted, sessions)


def load(folder: Path) -> Endpoint:
    """The endpoint over the packages of a folder."""
    loaded = {name: Engine.load(_package(folder, name)) for name in NAMES}
    features = loaded[NAMES[0]].features
    content = ReleaseContent(
        endpoint="lending", number=1, features=features, output=OUTPUT, rules={"text": RULES},
        models=tuple(ModelRef(name, 1, model.digest) for name, model in loaded.items()),
        decision_table={"text": DECISIONS},
    )  # fmt: skip
    return assemble(content, digest(canonical(content)), loaded)


def _package(folder: Path, name: str) -> Path:
    return next((folder / name).iterdir())


def matrix_of(rows: int) -> NDArray[np.float64]:
    """Rows of 20 numbers."""
    return np.random.default_rng(9).normal(size=(rows, WIDTH))


def routes_of(matrix: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Place in ``NAMES`` of the model that the rules send each row to."""
    first, second = matrix[:, 0], matrix[:, 1]
    found = np.where(first > 0.5, 2, 1)
    return np.where((first < -0.5) & (second > 0), 0, found)


def write_rows(
    folder: Path, matrix: NDArray[np.float64], kind: str, *, subjects: bool = False
) -> Path:
    """The rows as a file, with a case number, and whom each is about where that is wanted."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    rows = len(matrix)
    columns: dict[str, Any] = {"case": pa.array([f"c{number}" for number in range(rows)])}
    if subjects:
        columns["_subject"] = pa.array([f"s{number}" for number in range(rows)])
    columns |= {f"x{place}": matrix[:, place].copy() for place in range(WIDTH)}
    table = pa.table(columns)
    path = folder / f"{'about' if subjects else 'rows'}.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=131_072)
    elif kind == "arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=65_536)
    elif kind == "csv":
        arrow_csv.write_csv(table, path)
    else:
        with path.open("wb") as file:
            encode = msgspec.json.Encoder().encode_lines
            for batch in table.to_batches(max_chunksize=16_384):
                file.write(encode(batch.to_pylist()))
    return path


def bare_loop(
    bench: Bench, matrix: NDArray[np.float64], batch_rows: int, workers: int
) -> Callable[[], None]:
    """Nothing but ``session.run`` over ready matrices of the same rows, models and batch size."""
    work = []
    for start in range(0, len(matrix), batch_rows):
        part = matrix[start : start + batch_rows].astype(np.float32)
        chosen = routes_of(part)
        for place, name in enumerate(NAMES):
            rows = np.ascontiguousarray(part[chosen == place])
            if len(rows):
                work.append((bench.sessions[name], rows))

    def score(item: tuple[Any, NDArray[np.float32]]) -> None:
        item[0].run(["probabilities"], {"row": item[1]})

    def loop() -> None:
        if workers == 1:
            for item in work:
                score(item)
            return
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(score, work):
                pass

    return loop


def pandas_job(bench: Bench, source: Path, out: Path) -> int:
    """The same file by pandas and scikit-learn: read, route, ``predict_proba``, decide, write."""
    import pandas as pd

    frame = pd.read_parquet(source)
    values = frame[[f"x{place}" for place in range(WIDTH)]].to_numpy()
    chosen = routes_of(values)
    share = np.empty(len(frame))
    for place, name in enumerate(NAMES):
        rows = chosen == place
        if rows.any():
            share[rows] = bench.fitted[name].predict_proba(values[rows].astype(np.float32))[:, 0]
    decision = np.select([share < 0.3, share < 0.5], ["approve", "refer"], "decline")
    answers = pd.DataFrame(
        {
            "case": frame["case"],
            "model": np.array(NAMES)[chosen],
            "bad": share,
            "decision": decision,
        }
    )
    answers.to_parquet(out)
    return len(answers)
