"""A foreign ONNX file with a schema becomes a package; checked on sample rows.

Accepted is one float32 matrix input whose columns are the schema's features in order (an enum
enters as the index of its word), and the task's outputs: ``[rows, classes]`` probabilities, or
``[rows, 1]`` or ``[rows]`` values. There is no pipeline to compare with, so what is checked is the
file's own behaviour: it runs here, answers finite numbers of the promised shape, probabilities add
up to one, and a row answers the same in every batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compiler.errors import AppError
from compiler.models.build import golden_file
from compiler.models.encode import Columns, encode_columns
from compiler.models.encoding import Column, Encoding, Numeric, Table
from compiler.models.explain_arrays import pack, reference_rows
from compiler.models.parity import BATCH_SIZES, batch_invariance
from compiler.models.session import RUNTIME_VERSION, open_session, run_rows
from compiler.models.values import model_features
from compiler.package import Graph, Manifest, write_package
from compiler.schema import FeatureMap, OutputSchema, Task

SUM_TOLERANCE = 1e-3


class ForeignModelError(AppError):
    """The ONNX file does not do what the schema says."""

    code = "model.foreign"


class ForeignSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """What a foreign file promises: task, classes in the order of its columns, features."""

    task: Task
    features: FeatureMap
    classes: tuple[str, ...] = ()


def import_model(
    model: bytes,
    samples: Columns,
    rows: int,
    *,
    features: FeatureMap,
    output: OutputSchema,
    name: str,
    version: int,
    contributors: tuple[str, ...],
    out_dir: Path,
    lineage: dict[str, Any] | None = None,
) -> tuple[str, Path]:
    """Check a foreign model and write its package; returns digest and folder.

    Args:
        model: content of the ONNX file, without external data.
        samples: business columns of sample rows.
        rows: number of sample rows, at least 2.
        features: the schema; protected features are not among the file's columns.
        output: task and classes in the order of the file's probability columns.
        name: model name.
        version: model version.
        contributors: e-mails of everybody who worked on it.
        out_dir: parent of the package folder.
        lineage: where it came from.

    Raises:
        ForeignModelError: another input or output than promised.
        RuntimeLoadError: the runtime refuses the file.
    """
    if rows < 2:
        raise ForeignModelError(f"expected at least 2 sample rows, got {rows}")
    encoding = _encoding(features)
    served, graph = _served(model, encoding.width, output)
    matrix = encode_columns(samples, rows, encoding, features)
    session = open_session(served)

    def run(part: NDArray[np.float32], min_rows: int) -> list[NDArray[Any]]:
        return run_rows(session, graph.outputs, part, min_rows=min_rows)

    min_rows = batch_invariance(run, matrix)
    answers = run(matrix, min_rows)
    _check_answers(answers[0], output)
    references, weights = reference_rows(matrix, answers[0][:, -1].astype(np.float64), output)
    explain: dict[str, NDArray[Any]] = {
        "references": references,
        "weights": weights,
        "target": np.asarray(max(len(output.classes) - 1, 0), np.int64),
        "method": np.asarray("permutation"),
    }
    manifest = Manifest(
        name=name,
        version=version,
        features=features,
        output=output,
        encoding=encoding,
        graph=graph,
        min_rows=min_rows,
        recipe={},
        lineage={"source": "import", "libraries": {"onnxruntime": RUNTIME_VERSION}}
        | (lineage or {}),
        contributors=contributors,
        metrics={},
        parity={},
        files={},
    )
    files = {
        "model.onnx": served,
        "portable.onnx": model,
        "golden.npz": golden_file(matrix, answers, graph.outputs),
        "explain.npz": pack(explain),
    }
    return write_package(
        msgspec.structs.replace(manifest, metrics={"checked_batches": list(BATCH_SIZES)}),
        files,
        out_dir,
    )


def _encoding(features: FeatureMap) -> Encoding:
    columns: list[Column] = []
    for name, feature in model_features(features).items():
        if feature.type == "enum":
            codes = tuple((float(place),) for place in range(len(feature.values)))
            columns.append(Table(name, 1, feature.values, codes, missing=(None,)))
        elif feature.type == "string":
            raise ForeignModelError(
                f"feature {name} is free text; a numeric matrix has no place for it",
                at=name,
                hint="declare it as enum with its words, in the order of the file's codes",
            )
        else:
            columns.append(Numeric(name))
    if not columns:
        raise ForeignModelError("the schema has no feature that a model may see")
    return Encoding(tuple(columns))


def _served(model: bytes, width: int, output: OutputSchema) -> tuple[bytes, Graph]:
    """The file with a two-dimensional answer, and the names of its tensors."""
    if output.task == "clustering":
        raise ForeignModelError("foreign clustering models are not taken")
    session = open_session(model)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
        listed = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        raise ForeignModelError(f"expected one float32 input [rows, {width}], got {listed}")
    if inputs[0].shape[1] != width:
        raise ForeignModelError(
            f"expected {width} columns (the schema's features), got {inputs[0].shape[1]}"
        )
    columns = len(output.classes) if output.task == "classification" else 1
    wanted = [
        item
        for item in session.get_outputs()
        if item.type == "tensor(float)"
        and (len(item.shape) == 2 or (output.task == "regression" and len(item.shape) == 1))
        and (len(item.shape) == 1 or item.shape[1] in (columns, None) or _symbol(item.shape[1]))
    ]
    if not wanted:
        listed = ", ".join(
            f"{item.name} {item.type} {item.shape}" for item in session.get_outputs()
        )
        raise ForeignModelError(
            f"expected a float32 output [rows, {columns}], got {listed}",
            hint="export classifiers without ZipMap",
        )
    source = wanted[-1].name
    proto = onnx.load_model_from_string(model)
    shape = np.asarray([-1, columns], np.int64)
    proto.graph.initializer.append(numpy_helper.from_array(shape, "served_shape"))
    proto.graph.node.append(helper.make_node("Reshape", [source, "served_shape"], ["served"]))
    del proto.graph.output[:]
    proto.graph.output.append(
        helper.make_tensor_value_info("served", TensorProto.FLOAT, [None, columns])
    )
    return proto.SerializeToString(), Graph(inputs[0].name, ("served",), "other")


def _symbol(size: Any) -> bool:
    return not isinstance(size, int)


def _check_answers(answers: NDArray[Any], output: OutputSchema) -> None:
    if not np.isfinite(answers).all():
        row = int(np.flatnonzero(~np.isfinite(answers).all(axis=1))[0])
        raise ForeignModelError("a sample row is answered with NaN or infinity", at=f"row {row}")
    if output.task == "classification":
        off = np.abs(answers.sum(axis=1) - 1.0)
        if (answers < 0).any() or off.max() > SUM_TOLERANCE:
            raise ForeignModelError(
                "the outputs are not probabilities: they do not add up to one",
                hint="name the probability output, or export with a softmax or logistic end",
            )
