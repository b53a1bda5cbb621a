"""What the Open Inference Protocol says of an endpoint: tensors, datatypes, and how they map."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from compiler.schema import CONTEXT_PREFIX, Feature, FeatureType, OutputSchema
from router.release.spec import ReleaseContent
from router.wire.v2_single import Reader, readers

SUBJECT = "_subject"
INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
FLOATS = frozenset({"FP16", "FP32", "FP64"})
NUMBERS = INTEGERS | FLOATS
DATATYPES = NUMBERS | {"BOOL", "BYTES"}

DATATYPE: dict[FeatureType, str] = {
    "int": "INT64",
    "float": "FP64",
    "float32": "FP32",
    "decimal": "BYTES",
    "bool": "BOOL",
    "string": "BYTES",
    "enum": "BYTES",
    "date": "BYTES",
    "timestamp": "BYTES",
}
"""Datatype that metadata states for a feature."""

ACCEPTED: dict[FeatureType, frozenset[str]] = {
    "int": NUMBERS,
    "float": NUMBERS,
    "float32": NUMBERS,
    "decimal": NUMBERS | {"BYTES"},
    "bool": frozenset({"BOOL"}),
    "string": frozenset({"BYTES"}),
    "enum": frozenset({"BYTES"}),
    "date": frozenset({"BYTES"}),
    "timestamp": frozenset({"BYTES"}),
}
"""Datatypes that a feature is read from; a value that does not fit without loss is refused."""

TRITON_TYPE = {"BYTES": "TYPE_STRING", "BOOL": "TYPE_BOOL"}


class Column(Struct, frozen=True):
    """One feature as a tensor.

    Attributes:
        name: feature.
        key: its name as the start of a JSON member.
        integral: floats without a fraction are read as integers.
        accepted: datatypes that it is read from.
        datatype: datatype that metadata states.
        bit: its own bit, to see that no feature comes twice.
        readers: how one value is read from binary data, by datatype.
        values: words of an enum.
    """

    name: str
    key: bytes
    integral: bool
    accepted: frozenset[str]
    datatype: str
    bit: int
    readers: dict[str, Reader]
    values: tuple[str, ...] = ()


class OutputTensor(Struct, frozen=True):
    """One output.

    Attributes:
        name: as clients ask for it.
        datatype: of its elements.
        sizes: behind the batch size.
        one: JSON of what is said of it for one row, its end left open.
        pack: bytes of the values of one row, None for texts.
    """

    name: str
    datatype: str
    sizes: tuple[int, ...] = ()
    one: bytes = b""
    pack: Callable[..., bytes] | None = None


PACKED = {"FP32": "f", "FP64": "d", "INT64": "q"}


def output_tensor(name: str, datatype: str, sizes: tuple[int, ...] = ()) -> OutputTensor:
    """An output with the parts of its answers that never change."""
    shape = ",".join(map(str, (1, *sizes)))
    one = f'{{"name":"{name}","datatype":"{datatype}","shape":[{shape}]'.encode()
    letter = PACKED.get(datatype)
    pack = struct.Struct(f"<{math.prod(sizes)}{letter}").pack if letter else None
    return OutputTensor(name, datatype, sizes, one, pack)


class V2Plan(Struct, frozen=True):
    """Tensors of one endpoint.

    Attributes:
        columns: by feature name, context features left out.
        matrix: features of a [N, F] matrix in order; empty when one is not numeric.
        outputs: given when a request names none.
        extra: given when a request names them.
    """

    columns: dict[str, Column]
    matrix: tuple[Column, ...]
    outputs: tuple[OutputTensor, ...]
    extra: tuple[OutputTensor, ...]


EXTRA = tuple(output_tensor(name, "BYTES") for name in ("id", "rule", "model", "decision_rule"))


def v2_plan(content: ReleaseContent) -> V2Plan:
    """The tensors of a release."""
    names = [name for name in content.features if not name.startswith(CONTEXT_PREFIX)]
    columns = {
        name: _column(name, content.features[name], 1 << place) for place, name in enumerate(names)
    }
    numeric = all(content.features[name].type in ("int", "float", "float32") for name in columns)
    decides = content.decision_table is not None
    decision = (output_tensor("decision", "BYTES"),)
    return V2Plan(
        columns,
        tuple(columns.values()) if numeric else (),
        output_tensors(content.output) + (decision if decides else ()),
        EXTRA + (() if decides else decision),
    )


def _column(name: str, feature: Feature, bit: int) -> Column:
    key, accepted = b'"%b":' % name.encode(), ACCEPTED[feature.type]
    return Column(
        name,
        key,
        feature.type == "int",
        accepted,
        DATATYPE[feature.type],
        bit,
        readers(key, feature, accepted),
        feature.values,
    )


def output_tensors(schema: OutputSchema) -> tuple[OutputTensor, ...]:
    """Tensors of a model's outputs."""
    if schema.task == "regression":
        return (output_tensor("value", "FP32"),)
    if schema.task == "clustering":
        return output_tensor("cluster", "INT64"), output_tensor("distance", "FP32")
    return (
        output_tensor("label", "BYTES"),
        output_tensor("probabilities", "FP32", (len(schema.classes),)),
    )


def metadata(content: ReleaseContent, plan: V2Plan, versions: Sequence[int]) -> dict[str, Any]:
    """Body of ``/v2/models/{m}``; versions are the releases that may be asked for."""
    return {
        "name": content.endpoint,
        "versions": [str(number) for number in versions],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": each.name, "datatype": each.datatype, "shape": [-1, 1]}
            for each in plan.columns.values()
        ],
        "outputs": [
            {"name": each.name, "datatype": each.datatype, "shape": [-1, *each.sizes]}
            for each in plan.outputs
        ],
    }


def config(content: ReleaseContent, plan: V2Plan, versions: Sequence[int]) -> dict[str, Any]:
    """Body of ``/v2/models/{m}/config``: what perf_analyzer needs to start."""
    return {
        "name": content.endpoint,
        "platform": "onnxruntime_onnx",
        "backend": "interlock",
        "version_policy": {"specific": {"versions": list(versions)}},
        "max_batch_size": content.policies.max_rows,
        "input": [
            {"name": each.name, "data_type": triton_type(each.datatype), "dims": [1]}
            for each in plan.columns.values()
        ],
        "output": [
            {
                "name": each.name,
                "data_type": triton_type(each.datatype),
                "dims": list(each.sizes) or [1],
                **({} if each.sizes else {"reshape": {"shape": []}}),
            }
            for each in plan.outputs
        ],
    }


def triton_type(datatype: str) -> str:
    """Triton's word for a datatype.

    >>> triton_type("FP32"), triton_type("BYTES")
    ('TYPE_FP32', 'TYPE_STRING')
    """
    return TRITON_TYPE.get(datatype, "TYPE_" + datatype)
