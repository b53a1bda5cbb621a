"""More than two classes, and missing numbers that trees take as they are."""

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from compiler.models.bring import package
from compiler.schema import Feature
from serving.engine import Engine
from serving.explain.explainer import load_explainer

NAMES = ("a", "b", "c")
FEATURES = {name: Feature("float", nullable=True) for name in NAMES}
ROWS = 240


def data(missing=False):
    random = np.random.default_rng(12)
    matrix = np.round(random.normal(size=(ROWS, 3)), 2).astype(np.float32)
    target = np.asarray(["low", "mid", "top"])[
        np.digitize(matrix[:, 0] + 0.5 * matrix[:, 1], [-0.5, 0.6])
    ]
    if missing:
        matrix[random.random(matrix.shape) < 0.15] = np.nan
    return matrix, target


def served(tmp_path, model, matrix, target):
    with threadpool_limits(1):
        model.fit(matrix, target)
    info = package(model, matrix, FEATURES, name="m", out_dir=tmp_path, report=None)
    return info, Engine.load(info.path)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        GradientBoostingClassifier(n_estimators=6, random_state=0),
        HistGradientBoostingClassifier(max_iter=6, random_state=0),
        RandomForestClassifier(6, random_state=0),
        ExtraTreesClassifier(6, random_state=0),
        DecisionTreeClassifier(max_depth=5, random_state=0),
        GaussianNB(),
        KNeighborsClassifier(),
        MLPClassifier([6], max_iter=3000, tol=0.01, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_three_classes_are_served_and_explained(tmp_path, model):
    matrix, target = data()
    info, loaded = served(tmp_path, model, matrix, target)
    outputs = loaded.score_rows(matrix)
    np.testing.assert_allclose(outputs.probabilities, model.predict_proba(matrix), atol=1e-5)
    assert outputs.labels.tolist() == model.predict(matrix).tolist()

    explainer = load_explainer(info.path)
    for row in range(3):
        found = explainer.explain(dict(zip(NAMES, matrix[row].tolist(), strict=True)))
        assert (found.state, found.target) == ("ok", "top")
        total = found.base + sum(found.phi.values())
        assert total == pytest.approx(found.output, abs=2e-3)


@pytest.mark.parametrize("trained_with_missing", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(max_depth=6, random_state=0),
        RandomForestClassifier(6, random_state=0),
        ExtraTreesClassifier(6, random_state=0),
        HistGradientBoostingClassifier(max_iter=6, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_missing_numbers_take_the_side_the_tree_learnt(tmp_path, model, trained_with_missing):
    matrix, target = data(missing=trained_with_missing)
    info, loaded = served(tmp_path, model, matrix, target)
    holes = matrix.copy()
    holes[::2, 0] = np.nan
    holes[::3, 1] = np.nan
    np.testing.assert_allclose(
        loaded.score_rows(holes).probabilities, model.predict_proba(holes), atol=1e-6
    )
    found = load_explainer(info.path).explain({"a": None, "b": 0.5, "c": None})
    assert found.state == "ok"


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingRegressor(n_estimators=6, random_state=0),
        GradientBoostingRegressor(loss="quantile", n_estimators=6, random_state=0),
        GradientBoostingRegressor(init="zero", n_estimators=6, random_state=0),
        HistGradientBoostingRegressor(max_iter=6, random_state=0),
    ],
    ids=["squared", "quantile", "zero", "histogram"],
)
def test_boosted_values_are_served(tmp_path, model):
    matrix, _ = data()
    info, loaded = served(tmp_path, model, matrix, matrix[:, 0] * 3 + matrix[:, 1])
    outputs = loaded.score_rows(matrix)
    got = np.asarray([outputs.row(place)[0] for place in range(ROWS)])
    np.testing.assert_allclose(got, model.predict(matrix), atol=1e-5)
    found = load_explainer(info.path).explain({"a": 1.0, "b": 1.0, "c": 0.0})
    assert (found.space, found.state) == ("value", "ok")


def test_boosting_from_another_model_is_converted_or_refused_never_wrong(tmp_path):
    matrix, target = data()
    model = GradientBoostingClassifier(init=LogisticRegression(), n_estimators=3)
    with pytest.raises(Exception, match=r"could not be converted|expected answers within"):
        served(tmp_path, model, matrix, target)
