"""The one-row request of the Open Inference Protocol, without decoding a value.

Most calls carry one row, a tensor per feature. Their JSON members are put together from the bytes
as they came and decoded once, by the endpoint's own decoder, which refuses whatever is not one
value per feature. What is not plainly such a row takes the general way and gets its words there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from compiler.schema import Feature
from router.wire.native import Row

Reader = Callable[[bytes], bytes | None]
"""Bytes of a one-element tensor to a JSON member; None when it needs a closer look."""

LENGTH_BYTES = 4
DECODING = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ONE = ([1], [1, 1])
_PLAIN = frozenset(b"0123456789+-.eEtruefalsn")
_QUOTE = ord('"')
_REALS = {"FP64": struct.Struct("<d"), "FP32": struct.Struct("<f")}
_WHOLES = {"INT64": 8, "INT32": 4}
_json = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, bool | int | float | str | None]).decode


def readers(key: bytes, feature: Feature, accepted: frozenset[str]) -> dict[str, Reader]:
    """How a feature is read from each datatype that it is sent in.

    Args:
        key: its name as the start of a JSON member.
        feature: the feature.
        accepted: datatypes it may be sent in.
    """
    found: dict[str, Reader] = {}
    if "BYTES" in accepted:
        found["BYTES"] = text_reader(feature.values, key)
    if "BOOL" in accepted:
        found["BOOL"] = _bool_reader(key)
    for datatype, size in _WHOLES.items():
        if datatype in accepted:
            found[datatype] = _whole_reader(key, size)
    for datatype, layout in _REALS.items():
        if datatype in accepted:
            found[datatype] = _real_reader(key, layout, integral=feature.type == "int")
    return found


def text_reader(words: tuple[str, ...], key: bytes = b"") -> Reader:
    """How a text is read; the words of an enum are known beforehand and looked up.

    Args:
        words: of the enum, empty for any text.
        key: written before it.
    """
    look_up = known_texts(words, key).get

    def read(raw: bytes) -> bytes | None:
        member = look_up(raw)
        if member is not None:
            return member
        if int.from_bytes(raw[:LENGTH_BYTES], "little") != len(raw) - LENGTH_BYTES:
            return None
        try:
            return key + _json(raw[LENGTH_BYTES:].decode())
        except UnicodeDecodeError:
            return None

    return read


def known_texts(words: tuple[str, ...], key: bytes = b"") -> dict[bytes, bytes]:
    """Binary texts of words to their JSON, ``key`` before it."""
    return {
        len(word.encode()).to_bytes(LENGTH_BYTES, "little") + word.encode(): key + _json(word)
        for word in words
    }


def _bool_reader(key: bytes) -> Reader:
    yes, no = key + b"true", key + b"false"

    def read(raw: bytes) -> bytes | None:
        return None if len(raw) != 1 else (yes if raw[0] else no)

    return read


def _whole_reader(key: bytes, size: int) -> Reader:
    def read(raw: bytes) -> bytes | None:
        if len(raw) != size:
            return None
        return key + b"%d" % int.from_bytes(raw, "little", signed=True)

    return read


def _real_reader(key: bytes, layout: struct.Struct, *, integral: bool) -> Reader:
    def read(raw: bytes) -> bytes | None:
        if len(raw) != layout.size:
            return None
        value: float = layout.unpack(raw)[0]
        if not math.isfinite(value):
            return key + b"null" if math.isnan(value) else None
        if integral and value.is_integer():
            return key + b"%d" % int(value)
        return key + _json(value)

    return read


def single_row(inputs: list[Any], tail: bytes, columns: dict[str, Any], row: Row) -> Row | None:
    """The only row of a request by columns; None when it is not one.

    Args:
        inputs: tensors of the request.
        tail: binary data behind the JSON part.
        columns: of the endpoint, by name.
        row: everything but the features; filled in here.
    """
    parts = []
    seen = at = 0
    checked = True
    for tensor in inputs:
        column = columns.get(tensor.name)
        if column is None or tensor.shape not in _ONE:
            return None
        if tensor.data is UNSET:
            size = tensor.parameters.binary_data_size
            read = column.readers.get(tensor.datatype)
            if read is None or size is None or size < 0:
                return None
            member = read(tail[at : at + size])
            if member is None:
                return None
            at += size
        else:
            value = bytes(tensor.data).strip(b"[] \t\r\n")
            if not value or (value[0] != _QUOTE and not _PLAIN.issuperset(value)):
                return None
            if tensor.datatype not in column.accepted:
                return None
            member = column.key + value
            checked = False
        seen |= column.bit
        parts.append(member)
    if not parts or at != len(tail) or seen.bit_count() != len(parts):
        return None
    row.features = Raw(b"{%b}" % b",".join(parts))
    if not checked:
        try:
            _members(row.features)  # a value from JSON could be more than one
        except DECODING:
            return None
    return row
