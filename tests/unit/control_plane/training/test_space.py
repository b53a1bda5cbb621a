"""Everything that a search may draw can be fitted, and is exported exactly."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest

from compiler.models.build import build_package
from compiler.models.pipeline import make_pipeline
from compiler.models.recipe import Recipe
from compiler.schema import Feature, OutputSchema
from control_plane.training import space

FEATURES = {name: Feature("float") for name in ("a", "b", "c")}
SMALL = {"n_estimators": 5, "max_iter": 5}
EVERY = [(task, word) for task, words in space.SPACES.items() for word in words]


def rows(task):
    random = np.random.default_rng(2)
    matrix = random.normal(size=(240, 3)).astype(np.float32).astype(object)
    signal = matrix.astype(float) @ [1.0, -1.0, 0.5] + random.normal(size=240)
    if task == "classification":
        return matrix, np.where(signal > 1.0, "yes", "no"), OutputSchema(task, ("no", "yes"))
    return matrix, signal if task == "regression" else None, OutputSchema(task)


def small(params):
    """The same recipe with few trees."""
    kept = {name: min(value, SMALL.get(name, value)) if isinstance(value, int) else value
            for name, value in params.items()}  # fmt: skip
    if "estimator_params" in kept:
        kept["estimator_params"] = small(kept["estimator_params"])
    return kept


@pytest.mark.parametrize(("task", "word"), EVERY)
def test_every_draw_is_a_recipe_that_fits_and_its_package_passes_the_gate(task, word, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
    matrix, target, output = rows(task)
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranges of Optuna, convergence of few iterations
        for number in range(3):
            trial = study.ask()
            drawn = space.draw(trial, (word,), task, seed=1)
            seen |= set(trial.params)
            recipe = Recipe(task, word, small(drawn.params), drawn.preprocessing, drawn.seed)
            pipeline = make_pipeline(recipe, FEATURES).fit(matrix, target)
            build_package(
                pipeline, matrix, target, features=FEATURES, output=output, name="m", version=1,
                recipe=recipe, lineage={}, contributors=(), metrics={},
                out_dir=tmp_path / str(number),
            )  # fmt: skip
    assert all(name == "estimator" or name.startswith(f"{word}.") for name in seen)


def test_classifiers_that_take_class_weights_are_tried_with_and_without():
    for word in ("logistic_regression", "hist_gradient_boosting", "random_forest", "extra_trees",
                 "decision_tree"):  # fmt: skip
        given = set()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(12):
                trial = study.ask()
                recipe = space.draw(trial, (word,), "classification", seed=1)
                given.add(recipe.params.get("class_weight"))
        assert given == {None, "balanced"}, word


def test_calibrated_draws_the_ranges_of_what_it_calibrates():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
    inner = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(12):
            trial = study.ask()
            recipe = space.draw(trial, ("calibrated",), "classification", seed=1)
            inner.add(recipe.params["estimator"])
            assert recipe.params["estimator_params"]["n_estimators"] >= 40
    assert inner == set(space.CALIBRATED)
