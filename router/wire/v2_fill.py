"""From the values of a known request to the JSON of its features: one generated function each.

The order of the tensors, their datatypes and the names of the features are fixed with the template,
so that a row is put together at once from all its values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from router.wire.v2_shapes import Column
from router.wire.v2_single import LENGTH_BYTES, known_texts, text_reader

Fill = Callable[[list[bytes]], bytes | None]
"""Values to features; None when they need a closer look."""
BinaryFill = Callable[[bytes, int], tuple[bytes, bytes] | None]
"""A body and where its binary data begin to features and to what the JSON part must say of its
inputs; None when the values need a closer look."""

PACKED = {"INT64": "q", "INT32": "i", "FP64": "d", "FP32": "f", "BOOL": "?"}
WHOLE = frozenset({"INT64", "INT32"})
SIZES = tuple(b"%d" % size for size in range(4096))
"""Sizes of texts as the JSON part says them; longer ones take the general way."""
_SIZE = struct.Struct("<I").unpack_from
_json = msgspec.json.Encoder().encode
_AMISS = (TypeError, ValueError, IndexError, struct.error)
"""What a value raises that does not fit its place; the general way then says what is wrong."""


def fill_json(columns: Sequence[Column]) -> Fill:
    """For values in JSON, which stand in the features as they came."""
    keys = [column.key.replace(b"%", b"%%") for column in columns]
    layout = b"{%b}" % b",".join(key + b"%b" for key in keys)

    def fill(values: list[bytes]) -> bytes | None:
        try:
            features = layout % tuple(values)
            if not features.isascii():
                features.decode()
        except (TypeError, UnicodeDecodeError):
            return None
        return features

    return fill


def fill_binary(
    columns: Sequence[Column], datatypes: Sequence[str], texts: Sequence[bytes]
) -> BinaryFill | None:
    """For binary data; None for a datatype that only the general way reads.

    A text says its own size before it, so the JSON part need not be taken apart: what it must say
    of these tensors is put together from the sizes, for the caller to compare. Numbers that stand
    side by side are unpacked together.

    Args:
        columns: of the tensors, in order.
        datatypes: of the tensors.
        texts: the JSON part before, between and behind the sizes of the texts.
    """
    if any(each != "BYTES" and each not in PACKED for each in datatypes):
        return None
    space: dict[str, Any] = {"amiss": _AMISS, "join": b"".join}
    space |= {f"t{number}": text for number, text in enumerate(texts)}
    body: list[str] = []
    row: list[str] = []
    inputs = ["t0"]
    named = list(enumerate(zip(columns, datatypes, strict=True)))
    for is_text, group in groupby(named, lambda each: each[1][1] == "BYTES"):
        members = list(group)
        for place, (column, datatype) in members:
            key = (b"," if place else b"{") + column.key
            if not is_text:
                space |= {f"k{place}": key, f"f{place}": _number(datatype, column)}
                row += [f"k{place}", f"f{place}(v{place})"]
                continue
            space[f"text{place}"] = _any_text(key)
            taken = f"text{place}(body, at)"
            if column.values:
                space[f"known{place}"] = _with_sizes(known_texts(column.values, key)).get
                taken = f"known{place}(body[at : at + 4 + body[at]]) or {taken}"
            body += [f"v{place}, z{place}, n = {taken}", "at += n"]
            row.append(f"v{place}")
            inputs += [f"z{place}", f"t{len(inputs) // 2 + 1}"]
        if not is_text:
            layout = struct.Struct("<" + "".join(PACKED[datatype] for _, (_, datatype) in members))
            first = members[0][0]
            space[f"unpack{first}"] = layout.unpack_from
            names = "".join(f"v{place}, " for place, _ in members)
            body += [f"{names}= unpack{first}(body, at)", f"at += {layout.size}"]
    space["close"] = b"}"
    lines = [
        "def fill(body, at):",
        "    try:",
        *("        " + line for line in body),
        "        if at != len(body):",
        "            return None",
        f"        return join(({', '.join(row)}, close)), join(({', '.join(inputs)},))",
        "    except amiss:",
        "        return None",
    ]
    exec(compile("\n".join(lines), "<fill>", "exec"), space)  # noqa: S102 - numbered names only
    fill: BinaryFill = space["fill"]
    return fill


Text = tuple[bytes, bytes, int]
"""A member, the size of its binary text as the JSON part says it, and as it is."""


def _with_sizes(known: dict[bytes, bytes]) -> dict[bytes, Text]:
    return {raw: (member, b"%d" % len(raw), len(raw)) for raw, member in known.items()}


def _any_text(key: bytes) -> Callable[[bytes, int], Text]:
    """What reads a text that is not known beforehand; raises where there is none."""
    read = text_reader((), key)

    def text(body: bytes, at: int) -> Text:
        size = LENGTH_BYTES + _SIZE(body, at)[0]
        member = read(body[at : at + size])
        if member is None:
            raise ValueError("not a text")
        return member, SIZES[size], size

    return text


def _number(datatype: str, column: Column) -> Callable[[Any], bytes | None]:
    """How a number is written; None, which nothing is joined with, for an infinity."""
    if datatype in WHOLE or datatype == "BOOL":
        return _json
    integral = column.integral

    def real(value: float) -> bytes | None:
        if integral and value.is_integer():
            return b"%d" % int(value)
        return None if math.isinf(value) else _json(value)  # NaN is written as null

    return real
