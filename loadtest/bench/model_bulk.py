"""Many rows: batches beside plain ONNX Runtime, and mixed routing."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from compiler.models.build import PackageInfo, build_package
from compiler.models.session import open_session
from compiler.package import read_package
from compiler.schema import Feature, FeatureMap, OutputSchema
from loadtest.bench.models import Line, best_us, side_by_side
from serving.bulk import BulkPlan, BulkRoute, predict_batches
from serving.engine import Engine, LoadedModel

WIDTH = 20
TREES = 100
SIZES = (1, 16, 64, 256, 4096)
BATCH_FLOOR = 0.85
BATCH_ROWS = 65_536


def batches(folder: Path) -> list[Line]:
    """Columns to answers, against bare ``session.run`` on a ready matrix of the same size."""
    model, info, matrix = _numeric(folder, 0)
    package = read_package(info.path)
    session = open_session(package.files["model.onnx"])
    lines = []
    for size in SIZES:
        rows = np.ascontiguousarray(matrix[:size])
        columns = {name: rows[:, place].copy() for place, name in enumerate(model.features)}
        calls = max(3, 4000 // size)
        bare, ready, ours = side_by_side(
            partial(session.run, ["probabilities"], {"row": rows}),
            partial(model.score_rows, rows),
            partial(model.score_columns, columns, size),
            calls=calls,
        )
        lines += [
            Line("batch", f"{size} rows, bare ONNX Runtime", size / bare * 1e6, "rows/s"),
            Line("batch", f"{size} rows, score_rows", bare / ready, "x bare", f">= {BATCH_FLOOR}"),
            Line("batch", f"{size} rows, score_columns", bare / ours, "x bare"),
        ]
    return lines


def mixed_routing(folder: Path, rows: int) -> list[Line]:
    """Rows x 20 features over three models: routing alone, scoring alone, and all of it."""
    import pyarrow as pa

    loaded = [_numeric(folder, seed) for seed in range(3)]
    models = [item[0] for item in loaded]
    names = list(models[0].features)
    random = np.random.default_rng(9)

    def choose(columns: Any, _: int) -> NDArray[np.int16]:
        first, second = columns[names[0]], columns[names[1]]
        large = (first > 0.5).astype(np.int16)
        return np.where((first < -0.5) & (second > 0), np.int16(2), large)

    chunk = random.normal(size=(min(rows, BATCH_ROWS), WIDTH)).astype(np.float32)
    batch = pa.record_batch([chunk[:, place].copy() for place in range(WIDTH)], names=names)
    turns = max(1, rows // batch.num_rows)
    count = turns * batch.num_rows
    columns = {name: chunk[:, place].copy() for place, name in enumerate(names)}
    routing = best_us(lambda: choose(columns, len(chunk)), calls=20, rounds=3) * turns / 1e6
    start = time.perf_counter()
    for _ in range(turns):
        for place, model in enumerate(models):
            model.score_rows(chunk[place::3])
    scoring = time.perf_counter() - start
    plan = BulkPlan(
        models[0].features,
        tuple(BulkRoute(model.name, model) for model in models),
        choose,
    )
    start = time.perf_counter()
    done = sum(part.num_rows for part in predict_batches((batch for _ in range(turns)), plan))
    whole = time.perf_counter() - start
    assert done == count
    return [
        Line("routing", f"{count:,} rows: routing alone", routing * 1e3, "ms"),
        Line("routing", f"{count:,} rows: scoring alone", scoring, "s"),
        Line("routing", f"{count:,} rows: batches in, batches out", whole, "s"),
        Line("routing", "batches in, batches out", count / whole, "rows/s"),
    ]


def _numeric(folder: Path, seed: int) -> tuple[LoadedModel, PackageInfo, NDArray[np.float32]]:
    """A 100-tree gradient boosting over 20 numbers."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(4096, WIDTH)).astype(np.float32)
    noise = random.normal(size=len(matrix))
    target = np.where(matrix[:, :3].sum(axis=1) + noise > 0, "yes", "no")
    features: FeatureMap = {f"x{place}": Feature("float") for place in range(WIDTH)}
    fitted = GradientBoostingClassifier(n_estimators=TREES, random_state=seed)
    fitted.fit(matrix[:1000], target[:1000])
    info = build_package(
        fitted,
        matrix[:1000],
        target[:1000],
        features=features,
        output=OutputSchema("classification", ("no", "yes")),
        name=f"numeric{seed}",
        version=1,
        recipe=None,
        lineage={},
        contributors=(),
        metrics={},
        out_dir=folder / f"numeric{seed}",
    )
    return Engine.load(info.path), info, matrix
