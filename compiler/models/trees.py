"""Tree ensembles as plain arrays: what explanations and boundary grids need of them.

Source: scikit-learn's ``Tree`` (left when ``x <= threshold``, NaN by ``missing_go_to_left``) and
the predictors of its histogram gradient boosting (the same rule).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.errors import AppError

Link = Literal["logit", "softmax", "identity"]
LEAF = -1


class TreeError(AppError):
    """The trees cannot be read exactly."""

    code = "model.lowering"


class TreeArrays(Struct, frozen=True):
    """An additive ensemble: output = base + sum over trees of the leaf's value.

    Attributes:
        offsets: shape (trees + 1,), first node of each tree.
        left, right: shape (nodes,), child numbers within the tree, -1 in leaves.
        default_left: shape (nodes,), where NaN goes.
        feature: shape (nodes,), column of the row, -1 in leaves.
        threshold: shape (nodes,), float64; left when ``x <= threshold``.
        value: shape (nodes, outputs), contribution to each output, learning rate included.
        cover: shape (nodes,), training rows that reached the node.
        base: shape (outputs,).
        link: how outputs become the answer: ``logit`` and ``softmax`` are margins,
            ``identity`` is the answer itself (probabilities of a forest, a regression value).
    """

    offsets: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    default_left: NDArray[np.bool_]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    cover: NDArray[np.float64]
    base: NDArray[np.float64]
    link: Link


def tree_arrays(estimator: Any) -> TreeArrays | None:
    """The arrays of a fitted tree-family estimator; ``None`` for any other."""
    name = type(estimator).__name__
    if name.startswith(("DecisionTree", "ExtraTreeC", "ExtraTreeR")):
        return _forest([estimator], classifier=hasattr(estimator, "classes_"))
    if name.startswith(("RandomForest", "ExtraTrees")):
        return _forest(estimator.estimators_, classifier=hasattr(estimator, "classes_"))
    if name.startswith("GradientBoosting"):
        if type(estimator.init_).__name__ not in ("str", "DummyClassifier", "DummyRegressor"):
            return None  # the starting margin depends on the row: converted, not read
        return _boosting(estimator)
    if name.startswith("HistGradientBoosting"):
        return _histogram(estimator)
    return None


def _forest(trees: list[Any], *, classifier: bool) -> TreeArrays:
    parts = []
    for fitted in trees:
        tree = fitted.tree_
        value = tree.value[:, 0, :]
        if classifier:  # counts or shares, depending on the version: shares either way
            value = value / value.sum(axis=1, keepdims=True)
        parts.append(_part(tree, value / len(trees)))
    outputs = parts[0]["value"].shape[1]
    return _join(parts, np.zeros(outputs), "identity")


def _boosting(estimator: Any) -> TreeArrays:
    rounds, outputs = estimator.estimators_.shape
    probe = np.zeros((1, estimator.n_features_in_), np.float32)
    base = np.asarray(estimator._raw_predict_init(probe), np.float64)[0]  # noqa: SLF001 - no public way
    parts = []
    for place in range(rounds):
        for output in range(outputs):
            tree = estimator.estimators_[place, output].tree_
            value = np.zeros((tree.node_count, outputs))
            value[:, output] = tree.value[:, 0, 0] * estimator.learning_rate
            parts.append(_part(tree, value))
    return _join(parts, base, _link(estimator, outputs))


def _histogram(estimator: Any) -> TreeArrays:
    if any(p.nodes["is_categorical"].any() for group in estimator._predictors for p in group):  # noqa: SLF001 - no public way
        raise TreeError(
            "categorical splits of histogram gradient boosting do not export exactly",
            hint="encode categories with OneHotEncoder or OrdinalEncoder, without "
            "categorical_features",
        )
    base = np.ravel(np.asarray(estimator._baseline_prediction, np.float64))  # noqa: SLF001 - no public way
    outputs = len(base)
    parts = []
    for group in estimator._predictors:  # noqa: SLF001 - no public way
        for output, predictor in enumerate(group):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            value = np.zeros((len(nodes), outputs))
            value[:, output] = nodes["value"]
            parts.append(
                {
                    "left": np.where(leaf, LEAF, nodes["left"].astype(np.int64)),
                    "right": np.where(leaf, LEAF, nodes["right"].astype(np.int64)),
                    "default_left": nodes["missing_go_to_left"].astype(bool),
                    "feature": np.where(leaf, LEAF, nodes["feature_idx"].astype(np.int64)),
                    "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
                    "value": value,
                    "cover": nodes["count"].astype(np.float64),
                }
            )
    return _join(parts, base, _link(estimator, outputs))


def _link(estimator: Any, outputs: int) -> Link:
    if not hasattr(estimator, "classes_"):
        return "identity"
    return "logit" if outputs == 1 else "softmax"


def _part(tree: Any, value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    leaf = tree.children_left < 0
    default = getattr(tree, "missing_go_to_left", None)
    default = np.zeros(tree.node_count, bool) if default is None else np.asarray(default, bool)
    return {
        "left": tree.children_left.astype(np.int64),
        "right": tree.children_right.astype(np.int64),
        "default_left": default,
        "feature": np.where(leaf, LEAF, tree.feature).astype(np.int64),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "value": value,
        "cover": tree.weighted_n_node_samples.astype(np.float64),
    }


def _join(
    parts: list[dict[str, NDArray[Any]]], base: NDArray[np.float64], link: Link
) -> TreeArrays:
    offsets = np.cumsum([0, *(len(part["left"]) for part in parts)])
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return TreeArrays(offsets=offsets.astype(np.int64), base=base, link=link, **joined)


def thresholds(trees: TreeArrays, slot: int) -> NDArray[np.float64]:
    """Distinct thresholds on one column of the row."""
    return np.unique(trees.threshold[trees.feature == slot])
