"""The Open Inference Protocol, version 2: its requests as rows, and decisions as its answers.

Source:
    open-inference-protocol, ``inference_rest.md``; binary data as Triton's extension describes it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from router.errors import BodyError
from router.wire.native import MAX_WORD, Row, shape_error
from router.wire.v2_shapes import SUBJECT, Column, V2Plan
from router.wire.v2_single import single_row
from router.wire.v2_tensor import element_count, from_json, from_raw

Scalar = bool | int | float | str | None
Parameters = dict[str, Scalar]
NAN = float("nan")
BINARY_SIZE = "binary_data_size"
CONTEXT = "context."


class TensorParameters(Struct, gc=False, frozen=True):
    """What is said of one input; words that are not known are ignored."""

    binary_data_size: int | None = None


class InputTensor(Struct, gc=False):
    """One input of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters = TensorParameters()
    data: Raw | UnsetType = UNSET


class RequestedOutput(Struct, gc=False):
    """One output that a request asks for."""

    name: str
    parameters: Parameters = {}


class InferRequest(Struct):
    """The JSON part of a request; keys that are not known are ignored."""

    inputs: list[InputTensor]
    id: str | UnsetType = UNSET
    parameters: Parameters = {}
    outputs: list[RequestedOutput] | UnsetType = UNSET


_decode = msgspec.json.Decoder(InferRequest).decode
_encode = msgspec.json.Encoder().encode


def decode_request(raw: bytes) -> InferRequest:
    """The JSON part; bare ``NaN``, which some clients write, reads as null.

    Raises:
        BodyError: not JSON, or not the shape.
    """
    try:
        return _decode(raw)
    except msgspec.ValidationError as error:
        raise shape_error(error) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" not in raw:
            raise shape_error(error) from None
    try:
        return _decode(_encode(json.loads(raw, parse_constant=_constant)))
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise shape_error(error) from None


def _constant(word: str) -> None:
    if word != "NaN":
        raise ValueError(f"{word} is not a number of JSON")


def split_body(body: bytes, json_bytes: int | None, plan: V2Plan) -> tuple[InferRequest, bytes]:
    """The JSON part and the raw tensors behind it.

    Raises:
        BodyError: the header promises more than there is.
    """
    if json_bytes is None:
        return decode_request(body), b""
    if json_bytes > len(body):
        raise BodyError(
            f"expected {json_bytes} bytes of JSON, got {len(body)} in all",
            at="Inference-Header-Content-Length",
        )
    if json_bytes == 0:
        return _raw_request(body, plan), body
    return decode_request(body[:json_bytes]), body[json_bytes:]


def _raw_request(body: bytes, plan: V2Plan) -> InferRequest:
    """A body without JSON: the only input, batch 1, outputs all binary."""
    width = len(plan.matrix)
    for datatype, size in (("FP32", 4), ("FP64", 8)):
        if width and len(body) == width * size:
            tensor = InputTensor("input", [1, width], datatype, TensorParameters(len(body)))
            return InferRequest([tensor], parameters={"binary_data_output": True})
    raise BodyError(
        f"expected one FP32 or FP64 row of {width} numbers, got {len(body)} bytes"
        if width
        else "expected a JSON part: the endpoint has inputs that are not numbers"
    )


def read_rows(
    call: InferRequest, tail: bytes, plan: V2Plan, max_rows: int, shared: Row
) -> list[Row]:
    """The rows of a request, as the native API would have received them.

    Raises:
        BodyError: tensors that are not the endpoint's, or not of one batch size.
    """
    row = single_row(call.inputs, tail, plan.columns, shared)
    if row is not None:
        return [row]
    columns, subjects, count = _columns(call, tail, plan)
    if count > max_rows:
        raise BodyError(f"expected at most {max_rows} rows, got {count}", at="inputs")
    names = list(columns)
    if not names:
        raise BodyError("expected inputs of the endpoint, got none", at="inputs")
    rows = []
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        features = Raw(_encode(dict(zip(names, values, strict=True))))
        subject = subjects[number] if subjects else shared.subject
        rows.append(
            Row(
                features,
                subject=subject,
                split_id=shared.split_id,
                context=shared.context,
                timeout_ms=shared.timeout_ms,
            )
        )
    return rows


def shared_row(parameters: Parameters) -> Row:
    """What the parameters of a request say about every row."""
    row = Row(Raw(b"{}"))
    context = {}
    for name, value in parameters.items():
        if name.startswith(CONTEXT):
            context[name.removeprefix(CONTEXT)] = value
        elif name in ("subject", "split_id"):
            setattr(row, name, _word(value, f"parameters.{name}"))
        elif name == "timeout":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise BodyError("expected microseconds", at="parameters.timeout")
            row.timeout_ms = max(value // 1000, 1) if value else None
        elif name == "explain":
            row.explain = value is True
    if context:
        row.context = Raw(_encode(context))
    return row


def _word(value: object, at: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_WORD:
        raise BodyError(f"expected a text of at most {MAX_WORD} characters", at=at)
    return value


def _columns(
    call: InferRequest, tail: bytes, plan: V2Plan
) -> tuple[dict[str, list[Any]], list[Any], int]:
    """Values by feature, subjects, and the batch size."""
    columns: dict[str, list[Any]] = {}
    subjects: list[Any] = []
    counts: dict[str, int] = {}
    at = 0
    for tensor in call.inputs:
        values, at = _values(tensor, tail, at)
        rows = tensor.shape[0] if tensor.shape else 0
        counts[tensor.name] = rows
        column = plan.columns.get(tensor.name)
        if tensor.name in columns or (tensor.name == SUBJECT and subjects):
            raise BodyError("an input comes twice", at=f"inputs.{tensor.name}")
        if column is not None:
            check_column(tensor, column)
            columns[tensor.name] = integral_values(values) if column.integral else values
        elif tensor.name == SUBJECT and tensor.datatype == "BYTES":
            subjects = [_word(value, f"inputs.{SUBJECT}") for value in values]
        else:
            _spread(tensor, values, plan, columns)
    if at != len(tail):
        raise BodyError(f"{len(tail) - at} bytes of binary data belong to no input", at="inputs")
    if len(set(counts.values())) > 1:
        raise BodyError(f"expected one batch size, got {counts}", at="inputs")
    return columns, subjects, next(iter(counts.values()), 0)


def _values(tensor: InputTensor, tail: bytes, at: int) -> tuple[list[Any], int]:
    size = tensor.parameters.binary_data_size
    if size is None:
        if tensor.data is UNSET:
            raise BodyError("expected data, got none", at=f"inputs.{tensor.name}")
        values = from_json(tensor.name, tensor.shape, tensor.datatype, bytes(tensor.data))
        return values, at
    if size < 0 or at + size > len(tail):
        raise BodyError(
            f"expected a size within the {len(tail) - at} bytes that are left, got {size}",
            at=f"inputs.{tensor.name}.parameters.{BINARY_SIZE}",
        )
    raw = tail[at : at + size]
    return from_raw(tensor.name, tensor.shape, tensor.datatype, raw), at + size


def check_column(tensor: InputTensor, column: Column) -> None:
    """Refuse a tensor that is not what the endpoint says of this feature.

    Raises:
        BodyError: another datatype or another shape.
    """
    if tensor.datatype not in column.accepted:
        raise BodyError(
            f"expected {column.datatype}, got {tensor.datatype}",
            at=f"inputs.{tensor.name}.datatype",
        )
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise BodyError(
            f"expected shape [N] or [N, 1], got {tensor.shape[:8]}",
            at=f"inputs.{tensor.name}.shape",
        )


def integral_values(values: list[Any]) -> list[Any]:
    """Values of an integer feature: floats without a fraction are integers."""
    return [
        int(value) if isinstance(value, float) and value.is_integer() else value for value in values
    ]


def _spread(
    tensor: InputTensor, values: list[Any], plan: V2Plan, columns: dict[str, list[Any]]
) -> None:
    """The columns of a matrix, in the order of the schema."""
    width = len(plan.matrix)
    if not width or columns:
        raise BodyError(
            f"expected inputs named like features, got {tensor.name[:60]!r}",
            at=f"inputs.{tensor.name[:60]}",
            hint="metadata lists them",
        )
    if tensor.datatype in ("BYTES", "BOOL") or len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise BodyError(
            f"expected numbers of shape [N, {width}], got {tensor.datatype} {tensor.shape[:8]}",
            at=f"inputs.{tensor.name[:60]}.shape",
        )
    element_count(tensor.name, tensor.shape, tensor.datatype)
    for place, column in enumerate(plan.matrix):
        own = values[place::width]
        columns[column.name] = integral_values(own) if column.integral else own
