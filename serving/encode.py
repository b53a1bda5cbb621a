"""One decoded request to one float32 row: generated, one ``pack_into`` per request.

``struct.pack_into`` rounds each number to float32 (half to even, as numpy does) and copies the
slots of a category as ready bytes, so a row of fifty slots costs little more than its look-ups.
The plain meaning is ``compiler.models.encode.encode_columns``; tests hold the two equal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from compiler.models.encode import encode_columns, look_up
from compiler.models.encoding import Encoding, Numeric
from compiler.models.values import EPOCH_DAY, is_categorical
from compiler.schema import Feature, FeatureMap

Encoder = Callable[[Any], None]
"""Writes the row of one decoded struct into the buffer it was built for."""
ROW_ERRORS = (struct.error, OverflowError, TypeError, AttributeError, ValueError)
"""What a value that does not fit raises in the generated code."""


def build_encoder(encoding: Encoding, features: FeatureMap, buffer: memoryview) -> Encoder:
    """A function from a decoded struct to the row in ``buffer``.

    Args:
        encoding: the lowering spec.
        features: the schema it refers to.
        buffer: writable bytes of at least ``4 * encoding.width``.

    Returns:
        ``encode(f)``, where ``f`` has one attribute per feature. It raises one of ``ROW_ERRORS``
        for a value that does not fit; ``explain_refusal`` words it.
    """
    layout = "<"
    arguments: list[str] = []
    scope: dict[str, Any] = {"buffer": buffer, "nan": float("nan")}
    for place, part in enumerate(encoding.columns):
        feature = features[part.feature]
        read = f"f.{part.feature}"
        if isinstance(part, Numeric):
            layout += "f"
            missing = "nan" if part.missing is None else repr(part.missing)
            arguments.append(_number(read, feature, missing))
            continue
        layout += f"{4 * part.width}s"
        table = look_up(part)
        count = len(part.values)
        known: dict[Any, bytes] = {v: table[i].tobytes() for i, v in enumerate(part.values)}
        if part.missing is not None:
            known[None] = table[count].tobytes()
        scope[f"known{place}"] = known.get
        # a refused value becomes None, which pack_into does not take
        scope[f"unseen{place}"] = table[count + 1].tobytes() if part.unseen is not None else None
        key = read if is_categorical(feature) else _key(read, feature)
        if part.missing is None:
            # None must not count as an unseen word where only missing is refused
            scope[f"unseen{place}"], other = None, scope[f"unseen{place}"]
            scope[f"other{place}"] = other
            absent = f"(other{place} if {read} is not None else None)"
            arguments.append(f"known{place}({key}, {absent})")
        else:
            arguments.append(f"known{place}({key}, unseen{place})")
    scope["pack"] = struct.Struct(layout).pack_into
    source = f"def encode(f):\n    pack(buffer, 0, {', '.join(arguments)})\n"
    exec(compile(source, "<encoder>", "exec"), scope)  # noqa: S102 - names were checked by the schema
    encode: Encoder = scope["encode"]
    return encode


def _number(read: str, feature: Feature, missing: str) -> str:
    value = read
    if feature.type == "date":
        value = f"{read}.toordinal() - {EPOCH_DAY}"
    elif feature.type == "timestamp":
        value = f"{read}.timestamp()"
    return f"({missing} if {read} is None else {value})" if feature.nullable else value


def _key(read: str, feature: Feature) -> str:
    """A number used as a category is looked up as the float32 that training saw."""
    value = _number(read, feature, "None")
    if feature.type in ("int", "bool"):
        return value
    return f"(None if {read} is None else round32({value}))"


def round32(value: float) -> float:
    """The float32 nearest to a number, as a Python float."""
    return float(np.float32(value))


def as_columns(row: Any, encoding: Encoding) -> dict[str, list[Any]]:
    """The values of one decoded struct as columns of one row."""
    return {name: [getattr(row, name, None)] for name in encoding.features()}


def explain_refusal(row: Any, encoding: Encoding, features: FeatureMap) -> None:
    """Raise the worded error for a row that the generated encoder refused.

    Raises:
        ValueTypeError, ValueRangeError, UnseenCategoryError, MissingValueError: what is wrong.
    """
    encode_columns(as_columns(row, encoding), 1, encoding, features)
