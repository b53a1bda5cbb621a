"""Every estimator of the allow-list exports exactly; every other is refused with a neighbour."""

import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from compiler.models.build import build_package
from compiler.models.matrix import to_matrix
from compiler.models.pipeline import make_pipeline
from compiler.models.recipe import Preprocessing, Recipe, RecipeError
from compiler.models.supported import SUPPORTED, UnsupportedEstimatorError, by_class, by_word
from compiler.schema import Feature, OutputSchema
from serving.engine import Engine
from serving.explain.explainer import load_explainer

ROWS = 240
FEATURES = {
    "amount": Feature("float"),
    "months": Feature("int", nullable=True),
    "owns": Feature("bool"),
    "region": Feature("enum", values=("north", "south", "west"), nullable=True),
    "job": Feature("string"),
    "age": Feature("int", protected=True),
}
SMALL = {
    "random_forest": {"n_estimators": 8},
    "extra_trees": {"n_estimators": 8},
    "gradient_boosting": {"n_estimators": 12},
    "hist_gradient_boosting": {"max_iter": 12},
    "mlp": {"hidden_layer_sizes": [8], "max_iter": 4000, "tol": 0.01},
    "voting": {"estimators": ["logistic_regression", "decision_tree"]},
    "stacking": {"estimators": ["logistic_regression", "decision_tree"], "cv": 3},
    "calibrated": {"estimator": "decision_tree", "cv": 3},
    "kmeans": {"n_clusters": 4},
    "minibatch_kmeans": {"n_clusters": 4},
}
SMALL_REGRESSION = {
    **SMALL,
    "voting": {"estimators": ["ridge", "decision_tree"]},
    "stacking": {"estimators": ["ridge", "decision_tree"], "cv": 3},
}


def table():
    random = np.random.default_rng(5)
    columns = {
        "amount": np.round(random.lognormal(7, 1, ROWS), 2).tolist(),
        "months": [
            None if random.random() < 0.1 else int(item) for item in random.integers(3, 60, ROWS)
        ],
        "owns": (random.random(ROWS) < 0.5).tolist(),
        "region": random.choice([None, "north", "south", "west"], ROWS).tolist(),
        "job": random.choice(["clerk", "cook", "coder", "carer"], ROWS).tolist(),
        "age": random.integers(18, 80, ROWS).tolist(),
    }
    signal = (
        np.log(columns["amount"])
        + np.asarray(columns["owns"])
        + (np.asarray(columns["job"]) == "coder")
        + random.normal(0, 0.5, ROWS)
    )
    return columns, signal


def fit(recipe):
    columns, signal = table()
    matrix = to_matrix(columns, FEATURES)
    classes = ()
    target = signal
    if recipe.task == "classification":
        target = np.where(signal > np.median(signal), "yes", "no")
        classes = ("no", "yes")
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # convergence and deprecation notes are not the subject
        pipeline = make_pipeline(recipe, FEATURES).fit(matrix, target)
    return pipeline, matrix, target, OutputSchema(recipe.task, classes)


def build(tmp_path, recipe, **options):
    pipeline, matrix, target, output = fit(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # raised inside the converter
        warnings.simplefilter("ignore", FutureWarning)
        info = build_package(
            pipeline,
            matrix,
            target,
            features=FEATURES,
            output=output,
            name="m",
            version=1,
            recipe=recipe,
            lineage={},
            contributors=(),
            metrics={},
            out_dir=tmp_path,
            **options,
        )
    return pipeline, matrix, info


@pytest.mark.parametrize("entry", SUPPORTED, ids=lambda entry: f"{entry.task}-{entry.word}")
def test_estimator_exports_exactly_and_is_served(tmp_path, entry):
    params = (SMALL_REGRESSION if entry.task == "regression" else SMALL).get(entry.word, {})
    recipe = Recipe(entry.task, entry.word, params, seed=3)
    pipeline, matrix, info = build(tmp_path, recipe)
    assert info.parity.passed
    assert info.parity.rows["training"] == ROWS
    assert max(info.parity.label_flips.values()) == 0

    model = Engine.load(info.path)
    columns, _ = table()
    outputs = model.score_columns(columns, ROWS)
    if entry.task == "classification":
        np.testing.assert_allclose(outputs.probabilities, pipeline.predict_proba(matrix), atol=1e-5)
        assert outputs.labels.tolist() == pipeline.predict(matrix).tolist()
    elif entry.task == "regression":
        np.testing.assert_allclose(outputs.values, pipeline.predict(matrix), rtol=1e-4, atol=1e-4)
    else:
        assert outputs.clusters.tolist() == pipeline.predict(matrix).tolist()
        nearest = pipeline.transform(matrix).min(axis=1)
        np.testing.assert_allclose(outputs.distances, nearest, rtol=1e-4)


@pytest.mark.parametrize("entry", SUPPORTED, ids=lambda entry: f"{entry.task}-{entry.word}")
def test_estimator_is_explained_and_adds_up(tmp_path, entry):
    params = (SMALL_REGRESSION if entry.task == "regression" else SMALL).get(entry.word, {})
    _, _, info = build(tmp_path, Recipe(entry.task, entry.word, params, seed=3))
    explainer = load_explainer(info.path)
    columns, _ = table()
    expected = "distance" if entry.task == "clustering" else entry.family
    assert explainer.method == {"other": "permutation"}.get(expected, expected)
    for row in (0, 7):
        found = explainer.explain({name: columns[name][row] for name in columns})
        assert found.state == "ok"
        assert set(found.phi) == {"amount", "months", "owns", "region", "job"}
        total = found.base + sum(found.phi.values())
        assert total == pytest.approx(found.output, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(clip=(0.05, 0.95), scale="robust"),
        Preprocessing(scale="minmax", impute="mean", min_frequency=70),
        Preprocessing(select=4),
        Preprocessing(encode="ordinal", impute="most_frequent"),
    ],
    ids=["clip-robust", "minmax-rare", "select", "ordinal"],
)
def test_preprocessing_exports_exactly(tmp_path, preprocessing):
    recipe = Recipe("classification", "logistic_regression", {}, preprocessing)
    _, _, info = build(tmp_path, recipe)
    assert info.parity.largest_difference["lowered"] < 1e-5


def test_selection_before_trees_is_followed_to_the_row(tmp_path):
    recipe = Recipe(
        "classification", "gradient_boosting", {"n_estimators": 5}, Preprocessing(select=4)
    )
    _, _, info = build(tmp_path, recipe)
    assert info.parity.rows["boundary"] > 10
    assert info.manifest.graph.family == "tree"


def test_classes_in_another_order_keep_their_probabilities(tmp_path):
    for word in ("logistic_regression", "gradient_boosting", "mlp"):
        recipe = Recipe("classification", word, SMALL.get(word, {}))
        pipeline, matrix, target, _ = fit(recipe)
        info = build_package(
            pipeline,
            matrix,
            target,
            features=FEATURES,
            output=OutputSchema("classification", ("yes", "no")),
            name="m",
            version=1,
            recipe=recipe,
            lineage={},
            contributors=(),
            metrics={},
            out_dir=tmp_path,
        )
        columns, _ = table()
        outputs = Engine.load(info.path).score_columns(columns, ROWS)
        np.testing.assert_allclose(
            outputs.probabilities, pipeline.predict_proba(matrix)[:, ::-1], atol=1e-5
        )
        assert outputs.labels.tolist() == pipeline.predict(matrix).tolist()


def test_scaling_before_trees_is_refused_with_the_reason():
    recipe = Recipe("classification", "random_forest", {}, Preprocessing(scale="standard"))
    with pytest.raises(RecipeError, match="expected no scaling or clipping before random_forest"):
        make_pipeline(recipe, FEATURES)


def test_unknown_parameter_is_named():
    with pytest.raises(RecipeError, match="got n_trees"):
        make_pipeline(Recipe("classification", "random_forest", {"n_trees": 5}), FEATURES)


def test_unknown_word_is_refused_with_the_nearest():
    with pytest.raises(UnsupportedEstimatorError) as caught:
        by_word("logistic_regresion", "classification")
    assert "the nearest that works is logistic_regression" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("IsolationForest", "kmeans"),
        ("AdaBoostClassifier", "gradient_boosting"),
        ("XGBClassifier", "hist_gradient_boosting"),
        ("RidgeCV", "ridge"),
    ],
)
def test_estimator_outside_the_list_is_refused_with_the_nearest(name, near):
    with pytest.raises(UnsupportedEstimatorError, match=name) as caught:
        by_class(name)
    assert near in caught.value.hint
