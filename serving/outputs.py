"""JSON of many outputs, byte for byte what the answer to a single request holds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from compiler.schema import OutputSchema
    from serving.scatter import Answers

_encode_lines = msgspec.json.Encoder().encode_lines


def outputs_json(answers: Answers, schema: OutputSchema) -> Any:
    """A string array of shape (rows,); null where a row has no answer."""
    import pyarrow as pa

    answered = answers.answered
    whole = bool(answered.all())
    places = slice(None) if whole else np.flatnonzero(answered)
    lines = _encode_lines(_documents(answers, schema, places))
    ends = _line_ends(lines)
    if len(ends) and ends[-1] > np.iinfo(np.int32).max:
        raise OverflowError("a batch has at most 2 GiB of outputs")
    # Lines end with a newline each, which would belong to the text: it is cut by a copy without.
    text = pa.py_buffer(lines.replace(b"\n", b""))
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends - np.arange(1, len(ends) + 1)
    packed = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), text)
    if whole:
        return packed
    indices = np.cumsum(answered) - 1
    return packed.take(pa.array(indices, mask=~answered))


def _line_ends(lines: bytes) -> Any:
    """Position behind each newline."""
    return np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1


def _documents(answers: Answers, schema: OutputSchema, places: Any) -> list[Any]:
    if answers.codes is not None and answers.probabilities is not None:
        answer, shares = _document_types(schema.classes)
        labels = answers.classes.take(answers.codes[places]).tolist()
        columns = answers.probabilities[places].T.tolist()
        return list(map(answer, labels, map(shares, *columns)))
    assert answers.values is not None
    values = answers.values[places].tolist()
    if answers.clusters is None:
        return [{"value": value} for value in values]
    clusters = answers.clusters[places].tolist()
    return [
        {"cluster": cluster, "distance": far} for cluster, far in zip(clusters, values, strict=True)
    ]


@lru_cache(maxsize=256)
def _document_types(classes: tuple[str, ...]) -> tuple[type, type]:
    """Structs that encode as ``{"label": ..., "probability": {CLASS: ...}}``.

    Untracked by the garbage collector: half a million dicts a second cost more than the scores.
    """
    names = {f"p{place}": word for place, word in enumerate(classes)}
    fields = [(name, float) for name in names]
    shares = msgspec.defstruct("Shares", fields, rename=names, gc=False, frozen=True)
    answer = msgspec.defstruct(
        "Answer", [("label", str), ("probability", shares)], gc=False, frozen=True
    )
    return answer, shares
