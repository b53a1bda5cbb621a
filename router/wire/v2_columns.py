"""Requests of many rows as columns: tensors to an Arrow batch without a Python object per value.

What is not plainly right is not read here: the way of single rows takes it again and says what is
wrong, or reads what only it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UnsetType

from compiler.schema import CONTEXT_PREFIX
from router.columnar.batch import arrow_type
from router.columnar.inputs import SPLIT, column_name
from router.columnar.inputs import SUBJECT as SUBJECTS
from router.errors import BodyError
from router.wire.native import MAX_WORD
from router.wire.v2 import CONTEXT, check_column, integral_values
from router.wire.v2_shapes import FLOATS, SUBJECT
from router.wire.v2_tensor import NUMPY, SIZE, element_count, from_json, from_raw
from router.wire.v2_texts import text_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from compiler.schema import Feature, FeatureMap
    from router.wire.native import Row
    from router.wire.v2 import InferRequest, InputTensor, Scalar
    from router.wire.v2_shapes import V2Plan

TEXTS = frozenset({"string", "enum", "date", "timestamp"})
NUMBERS = frozenset({"int", "float", "float32"})
READ = TEXTS | NUMBERS | {"bool"}
"""Features that are read by columns; decimals keep the digits that came."""
INT64 = 2.0**63
_SCALARS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "float32": (int, float),
    "bool": (bool,),
}


class _CloserLookError(Exception):
    """The way of single rows has to read this request."""


def row_count(call: InferRequest) -> int:
    """How many rows a request says that it has; 0 where its first tensor says nothing."""
    shape = call.inputs[0].shape if call.inputs else []
    return shape[0] if shape else 0


def read_columns(
    call: InferRequest, tail: bytes, plan: V2Plan, features: FeatureMap, shared: Row
) -> pa.RecordBatch | None:
    """The rows of a request as :class:`router.columnar.decide.ColumnarEndpoint` takes them.

    Args:
        call: JSON part.
        tail: binary data behind it.
        plan: tensors of the endpoint.
        features: of the endpoint.
        shared: what the parameters say about every row.

    Returns:
        The batch, or None for a request that the way of single rows has to look at.
    """
    import pyarrow as pa

    try:
        columns = _columns(call, tail, plan, features)
        rows = len(next(iter(columns.values()), ()))
        for name, value in call.parameters.items():
            if name.startswith(CONTEXT):
                feature = CONTEXT_PREFIX + name.removeprefix(CONTEXT)
                columns[column_name(feature)] = _constant(features.get(feature), value, rows)
        if shared.subject is not None and SUBJECTS not in columns:
            columns[SUBJECTS] = pa.repeat(shared.subject, rows)
        if shared.split_id is not None:
            columns[SPLIT] = pa.repeat(shared.split_id, rows)
        return pa.record_batch(columns)
    except (_CloserLookError, BodyError, OverflowError, pa.ArrowException):
        return None


def _columns(
    call: InferRequest, tail: bytes, plan: V2Plan, features: FeatureMap
) -> dict[str, pa.Array]:
    import pyarrow as pa

    found: dict[str, pa.Array] = {}
    texts: dict[str, tuple[InputTensor, bytes]] = {}
    counts = set()
    at = 0
    for tensor in call.inputs:
        size = tensor.parameters.binary_data_size
        raw = None if size is None else tail[at : at + size]
        at += size or 0
        if size is not None and (size < 0 or at > len(tail)):
            raise _CloserLookError
        counts.add(tensor.shape[0] if tensor.shape else 0)
        column = plan.columns.get(tensor.name)
        name = SUBJECTS if column is None and tensor.name == SUBJECT else tensor.name
        if name in found or name in texts:
            raise _CloserLookError
        if column is not None:
            check_column(tensor, column)
            if features[tensor.name].type not in READ:
                raise _CloserLookError
        elif name != SUBJECTS or tensor.datatype != "BYTES":
            _spread(tensor, raw, plan, features, found)
            continue
        if raw is not None and tensor.datatype == "BYTES":
            texts[name] = tensor, raw
        elif column is None:
            found[name] = pa.array(_listed(tensor), pa.string()).dictionary_encode()
        else:
            found[name] = _read(tensor, raw, features[tensor.name])
    _put_texts(texts, found)
    if SUBJECTS in found:
        _check_subjects(found[SUBJECTS])
    if at != len(tail) or len(counts) != 1 or set(plan.columns).isdisjoint(found):
        raise _CloserLookError
    return found


def _spread(
    tensor: InputTensor,
    raw: bytes | None,
    plan: V2Plan,
    features: FeatureMap,
    found: dict[str, pa.Array],
) -> None:
    """The columns of a matrix."""
    width = len(plan.matrix)
    if not width or found or raw is None or tensor.datatype not in NUMPY:
        raise _CloserLookError
    if tensor.datatype == "BOOL" or len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise _CloserLookError
    whole = _array(tensor, raw).reshape(tensor.shape)
    for place, column in enumerate(plan.matrix):
        found[column.name] = _number(whole[:, place], features[column.name])


def _read(tensor: InputTensor, raw: bytes | None, feature: Feature) -> pa.Array:
    """One feature of all rows."""
    import pyarrow as pa

    if raw is None:
        values = _listed(tensor)
        if feature.type == "int":
            values = integral_values(values)
        if feature.type in TEXTS:
            return pa.array(values, pa.string())
        if not all(type(value) in _SCALARS[feature.type] or value is None for value in values):
            raise _CloserLookError
        return pa.array(values, arrow_type(feature))
    array = _array(tensor, raw)
    return pa.array(array) if feature.type == "bool" else _number(array, feature)


def _listed(tensor: InputTensor) -> list[Any]:
    """A tensor in JSON."""
    if isinstance(tensor.data, UnsetType):
        raise _CloserLookError
    return from_json(tensor.name, tensor.shape, tensor.datatype, bytes(tensor.data))


def _array(tensor: InputTensor, raw: bytes) -> NDArray[Any]:
    """A binary tensor of numbers or truth values, flat."""
    count = element_count(tensor.name, tensor.shape, tensor.datatype)
    if len(raw) != count * SIZE[tensor.datatype]:
        raise _CloserLookError
    array: NDArray[Any] = np.frombuffer(raw, NUMPY[tensor.datatype])
    if tensor.datatype == "BOOL":
        return np.not_equal(array.view(np.uint8), 0)
    if tensor.datatype in FLOATS and np.isinf(array).any():
        raise _CloserLookError
    return array


def _number(array: NDArray[Any], feature: Feature) -> pa.Array:
    """Numbers in the type of the feature, NaN as null; a number it cannot hold is looked at."""
    import pyarrow as pa

    if feature.type != "int":
        wide = array.astype(np.float64)
        return pa.array(wide, from_pandas=array.dtype.kind == "f")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        missing = np.isnan(array)
        array = np.where(missing, 0.0, array)
        if (array != np.trunc(array)).any() or (np.abs(array) >= INT64).any():
            raise _CloserLookError
        return pa.array(array.astype(np.int64), mask=missing if missing.any() else None)
    if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
        raise _CloserLookError
    return pa.array(array.astype(np.int64))


def _put_texts(texts: dict[str, tuple[InputTensor, bytes]], found: dict[str, pa.Array]) -> None:
    """The texts of all tensors that have some."""
    import pyarrow as pa

    if not texts:
        return
    counts = {element_count(each.name, each.shape, each.datatype) for each, _ in texts.values()}
    raws = [raw for _, raw in texts.values()]
    columns = text_columns(raws, counts.pop()) if len(counts) == 1 else None
    if columns is None:
        singly = [from_raw(t.name, t.shape, t.datatype, raw) for t, raw in texts.values()]
        columns = [pa.array(values, pa.string()).dictionary_encode() for values in singly]
    found.update(zip(texts, columns, strict=True))


def _check_subjects(found: pa.Array) -> None:
    """Whom each row is about has to be said of all."""
    import pyarrow.compute as pc

    longest = pc.max(pc.utf8_length(found.dictionary)).as_py() or 0
    if found.null_count or longest > MAX_WORD:
        raise _CloserLookError


def _constant(feature: Feature | None, value: Scalar, rows: int) -> pa.Array:
    """A context feature that is the same in all rows."""
    import pyarrow as pa

    if feature is None or feature.type not in READ or value is None:
        raise _CloserLookError
    if feature.type in TEXTS:
        if not isinstance(value, str):
            raise _CloserLookError
        return pa.repeat(value, rows)
    if type(value) not in _SCALARS[feature.type]:
        raise _CloserLookError
    return pa.repeat(pa.scalar(value, arrow_type(feature)), rows)
