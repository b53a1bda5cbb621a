"""Scalers before trees are folded into thresholds: exact on the threshold itself."""

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from threadpoolctl import threadpool_limits

from compiler.models.bring import package
from compiler.models.fold import _LARGEST, _float, row_trees
from compiler.models.lower import lower
from compiler.models.steps import QuantileClip
from compiler.schema import Feature
from serving.engine import Engine

FEATURES = {"a": Feature("float"), "b": Feature("float")}


def data():
    random = np.random.default_rng(8)
    matrix = np.column_stack(
        [random.integers(18, 70, 300), np.round(random.lognormal(8, 1, 300), 2)]
    ).astype(np.float32)
    return matrix, np.where(matrix[:, 0] + np.log(matrix[:, 1]) * 9 > 115, "yes", "no")


@pytest.mark.parametrize("scaler", [StandardScaler(), RobustScaler(), MinMaxScaler()], ids=repr)
@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scaled_trees_are_exact_on_both_sides_of_every_threshold(tmp_path, scaler, model):
    matrix, target = data()
    with threadpool_limits(1):
        pipeline = Pipeline([("s", scaler), ("m", model)]).fit(matrix, target)
    info = package(pipeline, matrix, FEATURES, name="m", out_dir=tmp_path, report=None)
    assert info.parity.rows["boundary"] > 30
    assert info.parity.largest_difference["lowered"] < 1e-6

    trees = row_trees(lower(pipeline, matrix, FEATURES))
    cuts = np.unique(trees.threshold[trees.feature == 1]).astype(np.float32)
    cuts = cuts[np.isfinite(cuts)]
    around = np.concatenate([cuts, np.nextafter(cuts, np.float32(np.inf))])
    rows = np.column_stack([np.full(len(around), 40, np.float32), around])
    served = Engine.load(info.path).score_rows(rows)
    np.testing.assert_allclose(served.probabilities, pipeline.predict_proba(rows), atol=1e-6)


def test_clipped_trees_never_split_beyond_the_bounds(tmp_path):
    matrix, _ = data()
    pipeline = Pipeline(
        [
            ("c", QuantileClip(0.1, 0.9)),
            ("s", StandardScaler()),
            ("m", RandomForestRegressor(5, random_state=0)),
        ]
    ).fit(matrix, matrix[:, 1])
    info = package(pipeline, matrix, FEATURES, name="m", out_dir=tmp_path, report=None)
    model = Engine.load(info.path)
    ends = [model.score_columns({"a": [40], "b": [value]}, 1).row(0) for value in (-1e30, 1e30)]
    expected = pipeline.predict(np.asarray([[40, -1e30], [40, 1e30]], np.float32))
    np.testing.assert_allclose(ends, expected[:, None], rtol=1e-6)


def test_order_of_float32_counts_through_all_of_them():
    order = np.asarray([-_LARGEST, -1, 0, 1, _LARGEST])
    values = _float(order)
    tiny = np.finfo(np.float32).smallest_subnormal
    largest = np.finfo(np.float32).max
    assert values.tolist() == [-largest, -tiny, 0.0, tiny, largest]
    middle = _float(np.arange(1000, 1010))
    assert (np.nextafter(middle[:-1], np.float32(1)) == middle[1:]).all()
