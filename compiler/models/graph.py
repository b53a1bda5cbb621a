"""The lowered split as ONNX: a numeric graph for serving, a portable one for everywhere else.

``model.onnx`` takes one float32 matrix ``row`` [rows, width] and answers only what is served.
``portable.onnx`` puts the encoding in front of the very same nodes, with one input per business
feature, so both are the same model by construction and proved equal by the parity gate.

Source: https://onnx.ai/onnx/operators/ and, for ``ai.onnx.ml``, the Scaler, LabelEncoder and
TreeEnsemble pages; opsets 18 and 3, which ONNX Runtime has run since 1.14.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.pipeline import Pipeline

from compiler.errors import AppError
from compiler.models.fold import row_trees
from compiler.models.lower import Lowered, Stage
from compiler.models.supported import by_class
from compiler.models.tree_graph import emit_trees
from compiler.package import Graph
from compiler.schema import OutputSchema

INPUT = "row"
OPSET = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 9
IN_DOUBLE = {
    "GaussianNB",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KMeans",
    "MiniBatchKMeans",
    "MLPClassifier",
    "MLPRegressor",
}
"""Estimators whose float32 sums depend on the batch; computed in float64, answered in float32."""


class ConversionError(AppError):
    """The estimator could not be converted."""

    code = "model.conversion"


class Built(Struct, frozen=True):
    """A graph with the names of its tensors."""

    model: onnx.ModelProto
    graph: Graph


def emit_model(lowered: Lowered, output: OutputSchema) -> Built:
    """The numeric graph of a lowered pipeline.

    Args:
        lowered: from ``lower``.
        output: the promised outputs; probability columns come in the order of its classes.

    Raises:
        UnsupportedEstimatorError: the estimator is not on the allow-list.
        ConversionError: the converter failed, with its words.
    """
    entry = by_class(type(lowered.estimator).__name__)
    width = lowered.encoding.width
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    current = INPUT
    versions = dict(OPSET)
    trees = row_trees(lowered)
    if trees is None:
        for level, stage in enumerate(lowered.stages):
            current = _emit_stage(stage, level, current, nodes, constants)
    if trees is not None:
        order = class_order(lowered.estimator, output) if output.classes else None
        nodes.append(emit_trees(trees, order, output, INPUT))
        columns = len(order) if order is not None else 1
        served = nodes[-1].output[0]
        outputs = [helper.make_tensor_value_info(served, TensorProto.FLOAT, [None, columns])]
    else:
        wide = _is_wide(lowered)
        if wide:
            nodes.append(helper.make_node("Cast", [current], ["wide"], to=TensorProto.DOUBLE))
            current = "wide"
        tail = _convert(lowered, output, wide=wide)
        versions.update({entry.domain: entry.version for entry in tail.opset_import})
        produced = _append_tail(tail, current, nodes, constants)
        outputs = _emit_outputs(lowered, output, produced, nodes, constants)
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])]
    model = _assemble(nodes, inputs, outputs, constants, versions)
    names = tuple(value.name for value in outputs)
    return Built(model, Graph(INPUT, names, entry.family))


def _append_tail(
    tail: onnx.ModelProto,
    current: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> list[str]:
    """Put converted nodes behind ``current``; returns the names of the tail's outputs."""
    constants.extend(_renamed(item) for item in tail.graph.initializer)
    for node in tail.graph.node:
        renamed = onnx.NodeProto()
        renamed.CopyFrom(node)
        renamed.input[:] = [current if name == "tail_row" else _inner(name) for name in node.input]
        renamed.output[:] = [_inner(name) for name in node.output]
        nodes.append(renamed)
    return [_inner(value.name) for value in tail.graph.output]


def _inner(name: str) -> str:
    """A converter's tensor name, kept apart from ours; empty means an absent optional input."""
    return f"inner_{name}" if name else name


def _renamed(constant: onnx.TensorProto) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(constant)
    copy.name = _inner(constant.name)
    return copy


def _convert(lowered: Lowered, output: OutputSchema, *, wide: bool) -> onnx.ModelProto:
    width = lowered.encoding.width
    if output.task == "classification" and not hasattr(lowered.estimator, "predict_proba"):
        raise ConversionError(
            f"{type(lowered.estimator).__name__} answers no probabilities",
            hint="fit it with probability=True, or wrap it in CalibratedClassifierCV",
        )
    steps = [lowered.twin, *lowered.rest] if lowered.twin is not None else list(lowered.rest)
    estimator = lowered.estimator
    options: dict[int, dict[str, Any]] = {}
    if hasattr(estimator, "predict_proba"):
        options[id(estimator)] = {"zipmap": False}
    whole = estimator
    kind = DoubleTensorType if wide else FloatTensorType
    if steps:
        named = [(f"step{place}", step) for place, step in enumerate(steps)]
        whole = Pipeline([*named, ("estimator", estimator)])
    try:
        converted: onnx.ModelProto = to_onnx(
            whole,
            initial_types=[("tail_row", kind([None, width]))],
            options=options,
            target_opset=OPSET,
        )
    except Exception as error:  # the converter raises many kinds; its words are the message
        raise ConversionError(
            f"{type(estimator).__name__} could not be converted: {error}",
            hint="see the table of estimators that export exactly",
        ) from error
    return converted


def _emit_stage(
    stage: Stage,
    level: int,
    current: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> str:
    for word, bound, op in (("lower", stage.lower, "Max"), ("upper", stage.upper, "Min")):
        if np.isfinite(bound).any():
            name = f"stage{level}_{word}"
            constants.append(numpy_helper.from_array(bound.astype(np.float32)[None, :], name))
            # NaN is passed on by Max and Min as by numpy.clip: missing stays missing
            nodes.append(helper.make_node(op, [current, name], [f"{name}_out"]))
            current = f"{name}_out"
    if (stage.offset != 0).any() or (stage.scale != 1).any():
        name = f"stage{level}_scaled"
        nodes.append(
            helper.make_node(
                "Scaler",
                [current],
                [name],
                domain="ai.onnx.ml",
                offset=[float(item) for item in stage.offset],
                scale=[float(item) for item in stage.scale],
            )
        )
        current = name
    return current


def _emit_outputs(
    lowered: Lowered,
    output: OutputSchema,
    produced: list[str],
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> list[onnx.ValueInfoProto]:
    """The served outputs only; everything that does not lead to them is pruned afterwards."""
    estimator = lowered.estimator
    wide = _is_wide(lowered)
    if output.task == "classification":
        order = class_order(estimator, output)
        name = produced[1]
        if list(order) != list(range(len(order))):
            constants.append(numpy_helper.from_array(np.asarray(order, np.int64), "class_order"))
            nodes.append(helper.make_node("Gather", [name, "class_order"], ["ordered"], axis=1))
            name = "ordered"
        outputs = [_float_output(nodes, name, "probabilities", len(order), wide=wide)]
        if not label_is_argmax(estimator):
            outputs.append(_label_output(estimator, output, produced[0], nodes, constants))
        return outputs
    if output.task == "regression":
        return [_float_output(nodes, produced[0], "value", 1, wide=wide)]
    nodes.append(
        helper.make_node("Identity", [produced[0]], ["cluster"]),
    )
    constants.append(numpy_helper.from_array(np.asarray([1], np.int64), "distance_axis"))
    nodes.append(
        helper.make_node("ReduceMin", [produced[1], "distance_axis"], ["nearest"], keepdims=1)
    )
    nodes.append(helper.make_node("Cast", ["nearest"], ["distance"], to=TensorProto.FLOAT))
    return [
        helper.make_tensor_value_info("cluster", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
    ]


def _is_wide(lowered: Lowered) -> bool:
    return type(lowered.estimator).__name__ in IN_DOUBLE and lowered.twin is None


def _float_output(
    nodes: list[onnx.NodeProto], name: str, served: str, width: int, *, wide: bool
) -> onnx.ValueInfoProto:
    """Give a tensor its served name by renaming what produces it: no copy at run time."""
    if wide:
        nodes.append(helper.make_node("Cast", [name], [served], to=TensorProto.FLOAT))
        return helper.make_tensor_value_info(served, TensorProto.FLOAT, [None, width])
    while True:
        source = next(node for node in nodes if name in node.output)
        if source.op_type != "Identity":
            break
        nodes.remove(source)
        name = source.input[0]
    for node in nodes:
        node.output[:] = [served if item == name else item for item in node.output]
        node.input[:] = [served if item == name else item for item in node.input]
    return helper.make_tensor_value_info(served, TensorProto.FLOAT, [None, width])


def _label_output(
    estimator: Any,
    output: OutputSchema,
    name: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> onnx.ValueInfoProto:
    """The estimator's own label as an index into the output schema's classes, int64 [rows]."""
    classes = estimator.classes_
    index = [list(output.classes).index(str(item)) for item in classes.tolist()]
    keys: dict[str, Any] = {"values_int64s": index, "default_int64": -1}
    if classes.dtype.kind in "iu":
        keys["keys_int64s"] = [int(item) for item in classes]
    else:
        keys["keys_strings"] = [str(item) for item in classes]
    nodes.append(
        helper.make_node("LabelEncoder", [name], ["label_raw"], domain="ai.onnx.ml", **keys)
    )
    constants.append(numpy_helper.from_array(np.asarray([-1], np.int64), "label_shape"))
    nodes.append(helper.make_node("Reshape", ["label_raw", "label_shape"], ["label"]))
    return helper.make_tensor_value_info("label", TensorProto.INT64, [None])


def label_is_argmax(estimator: Any) -> bool:
    """Whether ``predict`` is the class of the largest probability, by construction."""
    return type(estimator).__name__ not in ("SVC", "KNeighborsClassifier", "VotingClassifier")


def class_order(estimator: Any, output: OutputSchema) -> NDArray[np.intp]:
    """For each class of the schema, its column in ``predict_proba``.

    Raises:
        ConversionError: the estimator knows other classes than the schema.
    """
    known = [str(item) for item in estimator.classes_.tolist()]
    if sorted(known) != sorted(output.classes):
        raise ConversionError(
            f"expected classes {', '.join(output.classes)}, the estimator knows {', '.join(known)}",
            at="output.classes",
        )
    return np.asarray([known.index(word) for word in output.classes], dtype=np.intp)


def _assemble(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
    versions: dict[str, int],
) -> onnx.ModelProto:
    kept, needed = [], {value.name for value in outputs}
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    graph = helper.make_graph(
        kept, "model", inputs, outputs, [item for item in constants if item.name in needed]
    )
    return finish(graph, {**versions, "ai.onnx.ml": OPSET["ai.onnx.ml"]})


def finish(graph: onnx.GraphProto, versions: dict[str, int]) -> onnx.ModelProto:
    """A checked model of this graph."""
    opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())]
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=opsets, producer_name="interlock"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model
