"""Where a search looks: ranges per estimator, small enough to be tried, wide enough to matter.

Only estimators that export and explain exactly have a space. Nothing here imports a training
library; the sampler is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compiler.models.recipe import Preprocessing, Recipe
from compiler.schema import Task

Suggest = Any
"""An Optuna trial, or anything with its ``suggest_*`` methods."""
Space = Callable[[Suggest], tuple[dict[str, Any], Preprocessing]]

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("roc_auc", "neg_log_loss"),
    "regression": ("neg_rmse", "r2"),
    "clustering": ("silhouette",),
}
"""What a search may maximise; the first is the default."""

DEFAULTS: dict[Task, tuple[str, ...]] = {
    "classification": ("logistic_regression", "gradient_boosting", "random_forest", "extra_trees"),
    "regression": ("ridge", "gradient_boosting", "random_forest", "extra_trees"),
    "clustering": ("kmeans",),
}


def _linear(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    params: dict[str, Any] = {"C": t.suggest_float("C", 1e-3, 30.0, log=True)}
    return params | _weights(t), _scaled(t)


def _weights(t: Suggest) -> dict[str, Any]:
    """Rare classes count as much as frequent ones, or each row the same."""
    balanced = t.suggest_categorical("balanced", [False, True])
    return {"class_weight": "balanced"} if balanced else {}


def _scaled(t: Suggest) -> Preprocessing:
    clip = t.suggest_categorical("clip", [False, True])
    return Preprocessing(
        scale=t.suggest_categorical("scale", ["standard", "robust"]),
        clip=(0.01, 0.99) if clip else None,
    )


def _penalised(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    return {"alpha": t.suggest_float("alpha", 1e-3, 100.0, log=True)}, _scaled(t)


def _boosting(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    return {
        "n_estimators": t.suggest_int("n_estimators", 40, 240, step=20),
        "learning_rate": t.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_depth": t.suggest_int("max_depth", 1, 4),
        "min_samples_leaf": t.suggest_int("min_samples_leaf", 1, 40, log=True),
        "subsample": t.suggest_float("subsample", 0.5, 1.0, step=0.1),
        "max_features": t.suggest_float("max_features", 0.2, 1.0, step=0.2),
    }, Preprocessing()


def _hist(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    return {
        "max_iter": t.suggest_int("max_iter", 40, 240, step=20),
        "learning_rate": t.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_leaf_nodes": t.suggest_int("max_leaf_nodes", 4, 31),
        "min_samples_leaf": t.suggest_int("min_samples_leaf", 5, 60, log=True),
        "l2_regularization": t.suggest_float("l2_regularization", 1e-3, 30.0, log=True),
    }, Preprocessing()


def _forest(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    params: dict[str, Any] = {
        "n_estimators": t.suggest_int("n_estimators", 100, 300, step=50),
        "max_depth": t.suggest_int("max_depth", 4, 16),
        "min_samples_leaf": t.suggest_int("min_samples_leaf", 1, 20, log=True),
        "max_features": t.suggest_float("max_features", 0.1, 0.9, step=0.1),
    }
    return params, Preprocessing()


def _weighted(space: Space) -> Space:
    """The same ranges with class weights, for classifiers that take them."""

    def drawn(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
        params, preprocessing = space(t)
        return params | _weights(t), preprocessing

    return drawn


def _tree(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    return {
        "max_depth": t.suggest_int("max_depth", 2, 10),
        "min_samples_leaf": t.suggest_int("min_samples_leaf", 2, 60, log=True),
    }, Preprocessing()


def _calibrated(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    """An estimator with its own ranges whose probabilities are fitted to what happened.

    By Platt's sigmoid alone: isotonic regression is as steep as it likes between its knots, and
    what rounding moves an answer by, it moves beyond what the export may differ by.
    """
    word = t.suggest_categorical("inner", list(CALIBRATED))
    params, _ = CALIBRATED[word](Prefixed(t, word))
    return {
        "estimator": word,
        "estimator_params": params,
        "method": "sigmoid",
        "cv": 3,
    }, Preprocessing()


def _clusters(t: Suggest) -> tuple[dict[str, Any], Preprocessing]:
    return {"n_clusters": t.suggest_int("n_clusters", 2, 12)}, Preprocessing()


CALIBRATED: dict[str, Space] = {
    "gradient_boosting": _boosting,
    "random_forest": _weighted(_forest),
}
"""What is calibrated; their own probabilities are too sure and too unsure."""
SPACES: dict[Task, dict[str, Space]] = {
    "classification": {
        "logistic_regression": _linear,
        "gradient_boosting": _boosting,
        "hist_gradient_boosting": _weighted(_hist),
        "random_forest": _weighted(_forest),
        "extra_trees": _weighted(_forest),
        "decision_tree": _weighted(_tree),
        "calibrated": _calibrated,
    },
    "regression": {
        "ridge": _penalised,
        "lasso": _penalised,
        "elastic_net": _penalised,
        "gradient_boosting": _boosting,
        "hist_gradient_boosting": _hist,
        "random_forest": _forest,
        "extra_trees": _forest,
        "decision_tree": _tree,
    },
    "clustering": {"kmeans": _clusters, "minibatch_kmeans": _clusters},
}


class Prefixed:
    """Suggestions under an estimator's own names: ranges of different estimators never mix."""

    def __init__(self, trial: Suggest, prefix: str) -> None:
        self._trial = trial
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        """A ``suggest_*`` method that puts the prefix before the parameter's name."""
        method = getattr(self._trial, name)
        return lambda word, *args, **kwargs: method(f"{self._prefix}.{word}", *args, **kwargs)


def draw(trial: Suggest, estimators: tuple[str, ...], task: Task, seed: int) -> Recipe:
    """The recipe that a sampler's trial stands for."""
    word = trial.suggest_categorical("estimator", list(estimators))
    params, preprocessing = SPACES[task][word](Prefixed(trial, word))
    return Recipe(task, word, params, preprocessing, seed)
