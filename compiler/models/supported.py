"""The allow-list: estimators whose export is proved exact, by recipe word and by class name.

One parity test per row. Anything else is refused with the nearest word that works.
"""

from __future__ import annotations

import difflib
from typing import Literal

from msgspec import Struct

from compiler.errors import AppError
from compiler.schema import Task

Family = Literal["linear", "tree", "other"]


class UnsupportedEstimatorError(AppError):
    """The estimator does not export exactly."""

    code = "estimator.unsupported"


class Supported(Struct, frozen=True):
    """One estimator of the allow-list.

    Attributes:
        word: name in recipes.
        task: what it answers.
        classes: scikit-learn class, as ``module.Class``.
        family: how it is explained.
        seeded: it takes ``random_state``.
        handles_missing: recipes leave NaN to it; it learns a side for missing values.
        defaults: parameters that differ from scikit-learn's defaults.
    """

    word: str
    task: Task
    path: str
    family: Family
    seeded: bool = True
    handles_missing: bool = False
    defaults: dict[str, int | float | bool | str] = {}

    @property
    def class_name(self) -> str:
        """The class without its module."""
        return self.path.rpartition(".")[2]


_C: Task = "classification"
_R: Task = "regression"
_K: Task = "clustering"

SUPPORTED: tuple[Supported, ...] = (
    Supported(
        "logistic_regression",
        _C,
        "sklearn.linear_model.LogisticRegression",
        "linear",
        defaults={"max_iter": 2000},
    ),
    Supported("decision_tree", _C, "sklearn.tree.DecisionTreeClassifier", "tree"),
    Supported("random_forest", _C, "sklearn.ensemble.RandomForestClassifier", "tree"),
    Supported("extra_trees", _C, "sklearn.ensemble.ExtraTreesClassifier", "tree"),
    Supported("gradient_boosting", _C, "sklearn.ensemble.GradientBoostingClassifier", "tree"),
    Supported(
        "hist_gradient_boosting",
        _C,
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "tree",
        handles_missing=True,
    ),
    Supported(
        "mlp", _C, "sklearn.neural_network.MLPClassifier", "other", defaults={"max_iter": 500}
    ),
    Supported("naive_bayes", _C, "sklearn.naive_bayes.GaussianNB", "other", seeded=False),
    Supported("k_neighbors", _C, "sklearn.neighbors.KNeighborsClassifier", "other", seeded=False),
    Supported("svc", _C, "sklearn.svm.SVC", "other", defaults={"probability": True}),
    Supported("voting", _C, "sklearn.ensemble.VotingClassifier", "other", seeded=False),
    Supported("stacking", _C, "sklearn.ensemble.StackingClassifier", "other", seeded=False),
    Supported(
        "calibrated", _C, "sklearn.calibration.CalibratedClassifierCV", "other", seeded=False
    ),
    Supported(
        "linear_regression", _R, "sklearn.linear_model.LinearRegression", "linear", seeded=False
    ),
    Supported("ridge", _R, "sklearn.linear_model.Ridge", "linear"),
    Supported("lasso", _R, "sklearn.linear_model.Lasso", "linear"),
    Supported("elastic_net", _R, "sklearn.linear_model.ElasticNet", "linear"),
    Supported(
        "huber",
        _R,
        "sklearn.linear_model.HuberRegressor",
        "linear",
        seeded=False,
        defaults={"max_iter": 1000},
    ),
    Supported("quantile", _R, "sklearn.linear_model.QuantileRegressor", "linear", seeded=False),
    Supported("decision_tree", _R, "sklearn.tree.DecisionTreeRegressor", "tree"),
    Supported("random_forest", _R, "sklearn.ensemble.RandomForestRegressor", "tree"),
    Supported("extra_trees", _R, "sklearn.ensemble.ExtraTreesRegressor", "tree"),
    Supported("gradient_boosting", _R, "sklearn.ensemble.GradientBoostingRegressor", "tree"),
    Supported(
        "hist_gradient_boosting",
        _R,
        "sklearn.ensemble.HistGradientBoostingRegressor",
        "tree",
        handles_missing=True,
    ),
    Supported(
        "mlp", _R, "sklearn.neural_network.MLPRegressor", "other", defaults={"max_iter": 500}
    ),
    Supported("k_neighbors", _R, "sklearn.neighbors.KNeighborsRegressor", "other", seeded=False),
    Supported("svr", _R, "sklearn.svm.SVR", "other", seeded=False),
    Supported("voting", _R, "sklearn.ensemble.VotingRegressor", "other", seeded=False),
    Supported("stacking", _R, "sklearn.ensemble.StackingRegressor", "other", seeded=False),
    Supported("kmeans", _K, "sklearn.cluster.KMeans", "other", defaults={"n_init": 4}),
    Supported(
        "minibatch_kmeans", _K, "sklearn.cluster.MiniBatchKMeans", "other", defaults={"n_init": 4}
    ),
)

_NEAREST = {
    "IsolationForest": "kmeans with the distance to the nearest centre",
    "EllipticEnvelope": "kmeans with the distance to the nearest centre",
    "DBSCAN": "kmeans",
    "AgglomerativeClustering": "kmeans",
    "GaussianMixture": "kmeans",
    "AdaBoostClassifier": "gradient_boosting",
    "AdaBoostRegressor": "gradient_boosting",
    "XGBClassifier": "hist_gradient_boosting",
    "XGBRegressor": "hist_gradient_boosting",
    "LGBMClassifier": "hist_gradient_boosting",
    "LGBMRegressor": "hist_gradient_boosting",
    "CatBoostClassifier": "hist_gradient_boosting",
    "LinearSVC": "svc with kernel 'linear', or calibrated",
    "SGDClassifier": "logistic_regression",
    "RidgeClassifier": "logistic_regression",
    "Perceptron": "logistic_regression",
    "NuSVC": "svc",
    "BaggingClassifier": "random_forest",
}


def words(task: Task) -> tuple[str, ...]:
    """Recipe words of a task."""
    return tuple(entry.word for entry in SUPPORTED if entry.task == task)


def by_word(word: str, task: Task) -> Supported:
    """The entry of a recipe word.

    Raises:
        UnsupportedEstimatorError: names the nearest word of this task.
    """
    for entry in SUPPORTED:
        if entry.word == word and entry.task == task:
            return entry
    near = difflib.get_close_matches(word, words(task), n=1, cutoff=0.0)[0]
    raise UnsupportedEstimatorError(
        f"expected an estimator for {task}, got {word!r}",
        at="estimator",
        hint=f"the nearest that works is {near}; all: {', '.join(words(task))}",
    )


def by_class(name: str) -> Supported:
    """The entry of a fitted estimator's class name.

    Raises:
        UnsupportedEstimatorError: names the nearest that works.
    """
    for entry in SUPPORTED:
        if entry.class_name == name:
            return entry
    known = {entry.class_name: entry.word for entry in SUPPORTED}
    near = _NEAREST.get(name)
    if near is None:
        near = known[difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]]
    raise UnsupportedEstimatorError(
        f"{name} does not export exactly", at=name, hint=f"the nearest that works is {near}"
    )
