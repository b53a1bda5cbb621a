"""From the values of a known request to the JSON of its features: one generated function each.

The order of the tensors, their datatypes and the names of the features are fixed with the template,
so that a row is written by one formatting of all its values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from router.wire.v2_shapes import Column
from router.wire.v2_single import known_texts, text_reader

Fill = Callable[[list[bytes], bytes], bytes | None]
"""Values (or sizes of texts) and binary data to features; None when they need a closer look."""

PACKED = {"INT64": "q", "INT32": "i", "FP64": "d", "FP32": "f", "BOOL": "?"}
WHOLE = frozenset({"INT64", "INT32"})
_json = msgspec.json.Encoder().encode
_AMISS = (TypeError, ValueError, struct.error)
"""What a value raises that does not fit its place; the general way then says what is wrong."""


def fill_json(columns: Sequence[Column]) -> Fill:
    """For values in JSON, which stand in the features as they came."""
    layout = _layout(columns, [b"%b"] * len(columns))

    def fill(values: list[bytes], _: bytes) -> bytes | None:
        try:
            features = layout % tuple(values)
            if not features.isascii():
                features.decode()
        except (TypeError, UnicodeDecodeError):
            return None
        return features

    return fill


def fill_binary(columns: Sequence[Column], datatypes: Sequence[str]) -> Fill | None:
    """For binary data; None for a datatype that only the general way reads.

    Numbers that stand side by side are unpacked together; a text begins where the one before it
    ended and is as long as its size says.
    """
    if any(each != "BYTES" and each not in PACKED for each in datatypes):
        return None
    signs = [b"%d" if each in WHOLE else b"%b" for each in datatypes]
    space: dict[str, Any] = {"layout": _layout(columns, signs), "amiss": _AMISS}
    body, values = ["at = 0"], []
    sizes = [f"z{place}" for place, each in enumerate(datatypes) if each == "BYTES"]
    named = list(enumerate(zip(columns, datatypes, strict=True)))
    for is_text, group in groupby(named, lambda each: each[1][1] == "BYTES"):
        members = list(group)
        for place, (column, datatype) in members:
            name = f"f{place}"
            values.append(f"v{place}" if is_text or datatype in WHOLE else f"{name}(v{place})")
            if is_text:
                space[f"known{place}"] = known_texts(column.values).get
                space[name] = text_reader(())
                body += [f"end = at + int(z{place})", "raw = tail[at:end]", "at = end"]
                body.append(f"v{place} = known{place}(raw) or {name}(raw)")
            else:
                space[name] = _number(datatype, integral=column.integral)
        if not is_text:
            layout = struct.Struct("<" + "".join(PACKED[datatype] for _, (_, datatype) in members))
            first = members[0][0]
            space[f"unpack{first}"] = layout.unpack_from
            names = "".join(f"v{place}, " for place, _ in members)
            body += [f"{names}= unpack{first}(tail, at)", f"at += {layout.size}"]
    head = [f"{''.join(f'{size}, ' for size in sizes)}= sizes"] if sizes else []
    result = f"layout % ({''.join(f'{value}, ' for value in values)}) if at == len(tail) else None"
    lines = [
        "def fill(sizes, tail):",
        "    try:",
        *("        " + line for line in head + body),
        f"        return {result}",
        "    except amiss:",
        "        return None",
    ]
    exec(compile("\n".join(lines), "<fill>", "exec"), space)  # noqa: S102 - numbered names only
    fill: Fill = space["fill"]
    return fill


def _layout(columns: Sequence[Column], signs: Sequence[bytes]) -> bytes:
    """The formatting of a row: for each value, what writes it."""
    keys = [column.key.replace(b"%", b"%%") for column in columns]
    return b"{%b}" % b",".join(key + sign for key, sign in zip(keys, signs, strict=True))


def _number(datatype: str, *, integral: bool) -> Callable[[Any], bytes | None]:
    """How a number is written; None, which no place takes, for an infinity."""
    if datatype == "BOOL":
        return lambda value: b"true" if value else b"false"

    def real(value: float) -> bytes | None:
        if integral and value.is_integer():
            return b"%d" % int(value)
        return None if math.isinf(value) else _json(value)  # NaN is written as null

    return real
