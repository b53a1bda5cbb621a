"""``portable.onnx``: the encoding as graph nodes in front of the lowered model.

One input per business feature, [rows, 1]: text as strings (``""`` is MISSING unless it is a known
value), numbers as float32 (NaN is MISSING). Each look-up is a LabelEncoder to a row number and a
Gather from the table, so the graph says exactly what the encoding says.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.models.encode import look_up
from compiler.models.encoding import Encoding, Numeric, OneHot, Table
from compiler.models.graph import INPUT, Built, finish
from compiler.models.values import is_categorical
from compiler.schema import FeatureMap

MISSING_WORD = ""


def emit_portable(built: Built, encoding: Encoding, features: FeatureMap) -> onnx.ModelProto:
    """The model over business features.

    Args:
        built: the lowered model.
        encoding: its encoding.
        features: the schema.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    pieces: list[str] = []
    for place, part in enumerate(encoding.columns):
        prefix = f"encode{place}"
        if isinstance(part, Numeric):
            pieces.append(_number(part, prefix, nodes, constants))
        elif is_categorical(features[part.feature]):
            pieces.append(_words(part, prefix, nodes, constants))
        else:
            pieces.append(_numbers_as_categories(part, prefix, nodes, constants))
    nodes.append(helper.make_node("Concat", pieces, [INPUT], axis=1))
    inner = built.model.graph
    inputs = [
        helper.make_tensor_value_info(
            name,
            TensorProto.STRING if is_categorical(features[name]) else TensorProto.FLOAT,
            [None, 1],
        )
        for name in encoding.features()
    ]
    graph = helper.make_graph(
        [*nodes, *inner.node],
        "portable",
        inputs,
        list(inner.output),
        [*constants, *inner.initializer],
    )
    versions = {entry.domain: entry.version for entry in built.model.opset_import}
    return finish(graph, versions)


def _number(
    part: Numeric, prefix: str, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> str:
    if part.missing is None:
        return part.feature
    constants.append(
        numpy_helper.from_array(np.asarray([[part.missing]], np.float32), f"{prefix}_fill")
    )
    nodes.append(helper.make_node("IsNaN", [part.feature], [f"{prefix}_nan"]))
    nodes.append(
        helper.make_node(
            "Where", [f"{prefix}_nan", f"{prefix}_fill", part.feature], [f"{prefix}_out"]
        )
    )
    return f"{prefix}_out"


def _words(
    part: OneHot | Table,
    prefix: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> str:
    words = [str(value) for value in part.values]
    rows = list(range(len(words)))
    if MISSING_WORD not in words:
        words, rows = [*words, MISSING_WORD], [*rows, len(words)]
    nodes.append(
        helper.make_node(
            "LabelEncoder",
            [part.feature],
            [f"{prefix}_row"],
            domain="ai.onnx.ml",
            keys_strings=words,
            values_int64s=rows,
            default_int64=len(part.values) + 1,
        )
    )
    return _gather(part, prefix, f"{prefix}_row", nodes, constants)


def _numbers_as_categories(
    part: OneHot | Table,
    prefix: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> str:
    nodes.append(
        helper.make_node(
            "LabelEncoder",
            [part.feature],
            [f"{prefix}_known"],
            domain="ai.onnx.ml",
            keys_floats=[float(value) for value in part.values],
            values_int64s=list(range(len(part.values))),
            default_int64=len(part.values) + 1,
        )
    )
    missing = np.asarray([[len(part.values)]], np.int64)
    constants.append(numpy_helper.from_array(missing, f"{prefix}_missing"))
    nodes.append(helper.make_node("IsNaN", [part.feature], [f"{prefix}_nan"]))
    nodes.append(
        helper.make_node(
            "Where", [f"{prefix}_nan", f"{prefix}_missing", f"{prefix}_known"], [f"{prefix}_row"]
        )
    )
    return _gather(part, prefix, f"{prefix}_row", nodes, constants)


def _gather(
    part: OneHot | Table,
    prefix: str,
    row: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> str:
    constants.append(numpy_helper.from_array(look_up(part), f"{prefix}_table"))
    shape = np.asarray([-1, part.width], np.int64)
    constants.append(numpy_helper.from_array(shape, f"{prefix}_shape"))
    nodes.append(helper.make_node("Gather", [f"{prefix}_table", row], [f"{prefix}_wide"], axis=0))
    nodes.append(
        helper.make_node("Reshape", [f"{prefix}_wide", f"{prefix}_shape"], [f"{prefix}_out"])
    )
    return f"{prefix}_out"
