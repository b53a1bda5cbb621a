"""JSON of many outputs, byte for byte what the answer to a single request holds.

Numbers are written as one JSON list, cut at its commas and joined with the words between them:
half of what a document per row costs, and most of it without the interpreter's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from compiler.schema import OutputSchema
    from serving.scatter import Answers

_encode = msgspec.json.Encoder().encode
COMMA, LARGEST = ord(","), np.iinfo(np.int32).max


def outputs_json(answers: Answers, schema: OutputSchema) -> Any:
    """A string array of shape (rows,); null where a row has no answer.

    Raises:
        OverflowError: more than 2 GiB of outputs.
    """
    import pyarrow as pa

    answered = answers.answered
    if answered.all():
        return _documents(answers, schema, slice(None))
    packed = _documents(answers, schema, np.flatnonzero(answered))
    indices = np.cumsum(answered) - 1
    return packed.take(pa.array(indices, mask=~answered))


def _documents(answers: Answers, schema: OutputSchema, places: Any) -> Any:
    if answers.codes is not None and answers.probabilities is not None:
        classes = [_encode(word).decode() for word in schema.classes]
        heads = [f'{{"label":{word},"probability":{{{classes[0]}:' for word in classes]
        tails = [f",{word}:" for word in classes[1:]] + ["}}"]
        return _joined(heads, answers.codes[places], answers.probabilities[places].T, tails)
    assert answers.values is not None
    values = answers.values[places]
    none = np.zeros(len(values), np.int32)
    if answers.clusters is None:
        return _joined(['{"value":'], none, [values], ["}"])
    numbers = [answers.clusters[places], values]
    return _joined(['{"cluster":'], none, numbers, [',"distance":', "}"])


def _joined(
    heads: list[str],
    chosen: NDArray[np.int32],
    columns: Sequence[NDArray[Any]] | NDArray[Any],
    tails: list[str],
) -> Any:
    """Head, then every column's number with the tail behind it, row by row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [_numbers(column, tail.encode()) for column, tail in zip(columns, tails, strict=True)]
    first = pa.array(heads, pa.string()).take(pa.array(chosen))
    return pc.binary_join_element_wise(first, *parts, "")


def _numbers(column: NDArray[Any], tail: bytes) -> Any:
    """The JSON of each number with the same bytes behind it, as a string array.

    >>> _numbers(np.array([0.5, 1.0]), b"}").to_pylist()
    ['0.5}', '1.0}']
    """
    import pyarrow as pa

    rows = len(column)
    raw = _encode(column.tolist())
    if len(raw) + rows * len(tail) > LARGEST:
        raise OverflowError("a batch has at most 2 GiB of outputs")
    ends = np.zeros(rows + 1, np.int32)
    if rows:
        # the bracket that is cut off and the comma that ends a number make up for one another;
        # every comma becomes a tail
        ends[1:-1] = np.flatnonzero(np.frombuffer(raw, np.uint8) == COMMA)
        ends[-1] = len(raw) - 1
        ends[1:] += np.arange(1, rows + 1, dtype=np.int32) * np.int32(len(tail) - 1)
    text = raw.replace(b",", tail)[1:-1] + (tail if rows else b"")
    return pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(text))
