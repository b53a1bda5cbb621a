"""Tree ensembles as one ONNX node, written from the very arrays that explanations use.

One ``TreeEnsembleRegressor`` with a target per answer column: for a two-class margin ``m`` the
targets are ``-m`` and ``m`` under LOGISTIC. The classifier operator is avoided on purpose: it
takes another formula when all leaves happen to be positive, and converters differ in where they
send NaN. Thresholds are rounded *down* to float32, so ``x <= t`` keeps its truth for every
float32 ``x``.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html (version 3)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from compiler.models.trees import TreeArrays
from compiler.schema import OutputSchema

POST = {"logit": "LOGISTIC", "softmax": "SOFTMAX", "identity": "NONE"}


def emit_trees(
    trees: TreeArrays,
    order: NDArray[np.intp] | None,
    output: OutputSchema,
    source: str,
) -> onnx.NodeProto:
    """The node that answers ``probabilities`` or ``value``.

    Args:
        trees: the ensemble over row slots.
        order: for each served class its column in the ensemble's classes.
        output: the output schema.
        source: name of the row tensor.
    """
    weights, base = _targets(trees, order, output)
    counts = np.diff(trees.offsets)
    tree_ids = np.repeat(np.arange(len(counts)), counts)
    node_ids = np.arange(len(trees.left)) - np.repeat(trees.offsets[:-1], counts)
    leaf = trees.feature < 0
    feature = np.where(leaf, 0, trees.feature)
    leaves = np.flatnonzero(leaf)
    targets = weights.shape[1]
    name = "value" if output.task == "regression" else "probabilities"
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [name],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function="SUM",
        post_transform=POST[trees.link],
        base_values=_floats(base),
        nodes_treeids=_ints(tree_ids),
        nodes_nodeids=_ints(node_ids),
        nodes_featureids=_ints(feature),
        nodes_values=_floats(np.where(leaf, 0.0, round_down(trees.threshold))),
        nodes_modes=["LEAF" if item else "BRANCH_LEQ" for item in leaf.tolist()],
        nodes_truenodeids=_ints(np.where(leaf, 0, trees.left)),
        nodes_falsenodeids=_ints(np.where(leaf, 0, trees.right)),
        nodes_missing_value_tracks_true=_ints(np.where(leaf, 0, trees.default_left)),
        target_treeids=_ints(np.repeat(tree_ids[leaves], targets)),
        target_nodeids=_ints(np.repeat(node_ids[leaves], targets)),
        target_ids=_ints(np.tile(np.arange(targets), len(leaves))),
        target_weights=_floats(weights[leaves].ravel()),
    )


def _targets(
    trees: TreeArrays, order: NDArray[np.intp] | None, output: OutputSchema
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leaf weights, shape (nodes, answer columns), and base per column, in served order."""
    value, base = trees.value, trees.base
    if trees.link == "logit":
        value = np.concatenate([-value, value], axis=1)
        base = np.concatenate([-base, base])
    if output.task == "classification" and order is not None:
        value, base = value[:, order], base[order]
    return value, base


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each threshold.

    >>> [float(t) for t in round_down(np.array([0.5, 0.1, float("inf")]))]
    [0.5, 0.09999999403953552, inf]
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: NDArray[np.float32] = np.where(nearest.astype(np.float64) > thresholds, below, nearest)
    return rounded


def _ints(values: NDArray[Any]) -> list[int]:
    return [int(item) for item in values.tolist()]


def _floats(values: NDArray[Any]) -> list[float]:
    return [float(item) for item in values.astype(np.float32).tolist()]
