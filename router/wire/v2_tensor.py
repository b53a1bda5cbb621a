"""Tensors of the Open Inference Protocol as lists of Python values, from JSON or from raw bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from router.errors import BodyError
from router.wire.v2_shapes import DATATYPES, FLOATS, INTEGERS
from router.wire.v2_single import LENGTH_BYTES

NUMPY = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
SIZE = {name: np.dtype(word).itemsize for name, word in NUMPY.items()}
MAX_ELEMENTS = 1 << 26
FEW = 16
"""Values that are packed without making an array."""
_SCALAR = {
    name: struct.Struct("<" + word)
    for name, word in (("INT64", "q"), ("INT32", "i"), ("FP64", "d"), ("FP32", "f"), ("BOOL", "?"))
}


def element_count(name: str, shape: Sequence[int], datatype: str) -> int:
    """Elements of a tensor.

    Raises:
        BodyError: a datatype that is not known, or a shape without sense.
    """
    if datatype not in DATATYPES:
        raise BodyError(
            f"expected one of {', '.join(sorted(DATATYPES))}, got {datatype[:20]!r}",
            at=f"inputs.{name}.datatype",
        )
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise BodyError(
            f"expected sizes of 0 or more, {MAX_ELEMENTS} elements at most, got {list(shape)[:8]}",
            at=f"inputs.{name}.shape",
        )
    return math.prod(shape)


def from_raw(name: str, shape: Sequence[int], datatype: str, raw: bytes) -> list[Any]:
    """Values of a binary tensor, row-major; NaN is None.

    Raises:
        BodyError: the bytes are not as many as shape and datatype say, or text is not UTF-8.
    """
    count = element_count(name, shape, datatype)
    if datatype == "BYTES":
        return _texts(name, count, raw)
    if len(raw) != count * SIZE[datatype]:
        raise BodyError(
            f"expected {count * SIZE[datatype]} bytes of {datatype} {list(shape)}, got {len(raw)}",
            at=f"inputs.{name}",
        )
    array = np.frombuffer(raw, NUMPY[datatype])
    values: list[Any] = array.tolist()
    if datatype in FLOATS and not np.isfinite(array).all():
        if np.isinf(array).any():
            raise BodyError("expected finite numbers, got an infinity", at=f"inputs.{name}")
        return [None if math.isnan(value) else value for value in values]
    return values


def _texts(name: str, count: int, raw: bytes) -> list[Any]:
    """Strings with a 32-bit length before each."""
    values = []
    at, end = 0, len(raw)
    for _ in range(count):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if start > end or at > end:
            raise BodyError(f"the bytes end within {count} elements", at=f"inputs.{name}")
        try:
            values.append(raw[start:at].decode())
        except UnicodeDecodeError as error:
            raise BodyError(f"not UTF-8: {error.reason}", at=f"inputs.{name}") from error
    if at != end:
        raise BodyError(f"{end - at} bytes too many", at=f"inputs.{name}")
    return values


def from_json(name: str, shape: Sequence[int], datatype: str, raw: bytes) -> list[Any]:
    """Values of a JSON tensor, nested or flat, row-major.

    Raises:
        BodyError: another number of elements, or elements of another datatype.
    """
    count = element_count(name, shape, datatype)
    if datatype == "FP16":
        raise BodyError("FP16 comes as binary data only", at=f"inputs.{name}")
    data = msgspec.json.decode(raw)
    if not isinstance(data, list):
        raise BodyError("expected an array", at=f"inputs.{name}.data")
    while data and isinstance(data[0], list):
        if not all(isinstance(each, list) for each in data):
            raise BodyError("expected arrays of one depth", at=f"inputs.{name}.data")
        data = [value for each in data for value in each]
    if len(data) != count:
        raise BodyError(
            f"expected {count} elements for shape {list(shape)}, got {len(data)}",
            at=f"inputs.{name}.data",
        )
    for place, value in enumerate(data):
        if value is not None and not _fits(value, datatype):
            shown = msgspec.json.encode(value)[:40].decode("utf-8", "replace")
            raise BodyError(f"expected {datatype}, got {shown}", at=f"inputs.{name}.data[{place}]")
    return data


def _fits(value: Any, datatype: str) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if datatype in INTEGERS:
        return isinstance(value, int)
    return isinstance(value, int | float)


def to_raw(datatype: str, values: Sequence[Any]) -> bytes:
    """Bytes of an output tensor."""
    if len(values) <= FEW and datatype in _SCALAR:
        return struct.pack(f"<{len(values)}{_SCALAR[datatype].format[1:]}", *values)
    if datatype == "BYTES":
        texts = [value.encode() for value in values]
        return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in texts)
    return np.asarray(values, NUMPY[datatype]).tobytes()
