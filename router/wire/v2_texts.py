"""Texts of binary tensors, each with its length before it, read all at once.

Where a text begins depends on all before it, so that a plain reader goes one by one. Short texts
without zeros, which is what words of an enum are, can be found together: only a length then has
three zeros in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from router.wire.v2_single import LENGTH_BYTES

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


def text_columns(tensors: Sequence[bytes], count: int) -> list[pa.Array] | None:
    """Tensors of ``count`` texts each, as numbers of the different ones.

    They are searched together: at a thousand rows a call costs more than what it looks at.

    Returns:
        A dictionary array for each tensor; None when one has to be read text by text: longer than
        255 bytes, empty, not ASCII, or not so many.
    """
    import pyarrow as pa

    raw = b"".join(tensors)
    starts = _starts(raw, count * len(tensors))
    if starts is None:
        return None
    begins = np.cumsum([0, *map(len, tensors[:-1])])
    if (starts[::count] != begins).any():
        return None
    data = np.frombuffer(raw, np.uint8)
    kept = np.ones(len(data), bool)
    for byte in range(LENGTH_BYTES):
        kept[starts + byte] = False
    text = data[kept].tobytes()
    if not text.isascii():  # each text has to be UTF-8 by itself
        return None
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(data[starts], out=offsets[1:])
    whole = pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(text))
    return [whole.slice(place, count).dictionary_encode() for place in range(0, len(starts), count)]


def _starts(raw: bytes, count: int) -> NDArray[np.intp] | None:
    """Where ``count`` texts with their lengths begin that fill the bytes; None unless it is plain.

    What is found is the only way to read the bytes: the first begins with them, each other where
    the one before it ends, and the last ends with them.
    """
    data = np.frombuffer(raw, np.uint8)
    zero = data == 0
    starts = np.flatnonzero(zero[1:-2] & zero[2:-1] & zero[3:])
    if not count or len(starts) != count or starts[0]:
        return None
    ends = starts + data[starts] + LENGTH_BYTES
    if ends[-1] != len(data) or (ends[:-1] != starts[1:]).any():
        return None
    return starts
