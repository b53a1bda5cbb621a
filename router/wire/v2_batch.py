"""Answers to requests of many rows, output by output instead of row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Raw, Struct

from router.columnar.tables import id_words
from router.wire.v2_answer import batch_facts, put_together
from router.wire.v2_single import LENGTH_BYTES
from router.wire.v2_tensor import NUMPY, to_raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router.columnar.decide import ColumnarEndpoint, Made
    from router.release.spec import ReleaseContent
    from router.wire.v2 import InferRequest
    from router.wire.v2_answer import Chosen
    from router.wire.v2_shapes import OutputTensor

_encode = msgspec.json.Encoder().encode


class Block(Struct, frozen=True):
    """Some rows of a request.

    Attributes:
        made: what was decided about them.
        ids: of the decisions, bytes of shape (rows, 16).
    """

    made: Made
    ids: NDArray[np.uint8]


class Words(Struct, frozen=True):
    """Texts by row: numbers of shape (rows,), of which -1 is no text, and what they stand for."""

    codes: NDArray[Any]
    words: Sequence[str | None]


def encode_batch(
    call: InferRequest,
    content: ReleaseContent,
    chosen: Chosen,
    function: ColumnarEndpoint,
    blocks: Sequence[Block],
) -> tuple[bytes, int | None]:
    """Body of an answer and the bytes of its JSON part, as :func:`encode_general` writes them.

    Args:
        call: what was asked.
        content: release that answers.
        chosen: outputs to give.
        function: that decided.
        blocks: the rows, in order; none has an error.
    """

    def values(tensor: OutputTensor, binary: bool) -> Any:
        read = _READ[tensor.name]
        found = [read(function, block) for block in blocks]
        if binary:
            return b"".join([_binary(tensor, each) for each in found])
        return Raw(b"[%b]" % b",".join(map(_json, found)))

    rows = sum(block.made.inputs.rows for block in blocks)
    return put_together(call, content, chosen, rows, values, batch_facts(content))


def _binary(tensor: OutputTensor, found: Words | NDArray[Any] | list[str]) -> bytes:
    if isinstance(found, Words):
        encoded = [(word or "").encode() for word in (*found.words, "")]
        tokens = [len(word).to_bytes(LENGTH_BYTES, "little") + word for word in encoded]
        return b"".join(map(tokens.__getitem__, found.codes.tolist()))
    if isinstance(found, list):
        return to_raw(tensor.datatype, found)
    return found.astype(NUMPY[tensor.datatype]).tobytes()


def _json(found: Words | NDArray[Any] | list[str]) -> bytes:
    """Elements of a JSON list."""
    if isinstance(found, Words):
        quoted = [_encode(word or "") for word in (*found.words, "")]
        return b",".join(map(quoted.__getitem__, found.codes.tolist()))
    return _encode(found if isinstance(found, list) else found.ravel().tolist())[1:-1]


def _label(_: ColumnarEndpoint, block: Block) -> Words:
    answers = block.made.answers
    assert answers.codes is not None, "label is an output of classifications"
    return Words(answers.codes, answers.classes.tolist())


_READ: dict[str, Callable[[ColumnarEndpoint, Block], Any]] = {
    "label": _label,
    "probabilities": lambda _, block: block.made.answers.probabilities,
    "value": lambda _, block: block.made.answers.values,
    "cluster": lambda _, block: block.made.answers.clusters,
    "distance": lambda _, block: block.made.answers.values,
    "decision": lambda function, block: Words(function.outcomes(block.made), function.decisions),
    "decision_rule": lambda function, block: Words(
        function.outcomes(block.made), function.decision_rules
    ),
    "rule": lambda function, block: Words(block.made.arms, [a.rule for a in function.arms]),
    "model": lambda function, block: Words(block.made.arms, [a.model for a in function.arms]),
    "id": lambda _, block: id_words(block.ids).to_pylist(),
}
"""Values of each output."""
