"""Decisions as answers of the Open Inference Protocol, in JSON and in binary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from router.errors import BodyError
from router.release.spec import ReleaseContent
from router.settled import Settled, uuid_text
from router.wire.v2 import BINARY_SIZE, InferRequest, Parameters
from router.wire.v2_shapes import OutputTensor, V2Plan
from router.wire.v2_tensor import to_raw

Chosen = Sequence[tuple[OutputTensor, bool]]
"""Outputs to give, each with whether it is binary."""
Writer = Callable[[Settled], tuple[bytes, int | None]]
"""Body of an answer and the bytes of its JSON part (None when all of it is JSON)."""
NAN = float("nan")
_encode = msgspec.json.Encoder().encode


class InferOutput(Struct, omit_defaults=True):
    """One output of an answer; ``data`` is absent when it is binary."""

    name: str
    datatype: str
    shape: list[int]
    data: Any = UNSET
    parameters: Parameters = {}


class InferResponse(Struct, omit_defaults=True):
    """The JSON part of an answer."""

    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str | UnsetType = UNSET
    parameters: Parameters = {}


def choose_outputs(call: InferRequest, plan: V2Plan) -> list[tuple[OutputTensor, bool]]:
    """Outputs to give, each with whether it is binary.

    Raises:
        BodyError: an output that the endpoint does not have.
    """
    binary = call.parameters.get("binary_data_output") is True
    if call.outputs is UNSET or not call.outputs:
        return [(each, binary) for each in plan.outputs]
    known = {each.name: each for each in (*plan.outputs, *plan.extra)}
    chosen = []
    for asked in call.outputs:
        if asked.name not in known:
            raise BodyError(
                f"expected one of {', '.join(known)}, got {asked.name[:60]!r}",
                at="outputs",
            )
        chosen.append((known[asked.name], asked.parameters.get("binary_data", binary) is True))
    return chosen


def encode_answer(
    call: InferRequest,
    content: ReleaseContent,
    chosen: Chosen,
    settled: Sequence[Settled],
) -> tuple[bytes, int | None]:
    """Body of an answer and the bytes of its JSON part (None when all of it is JSON)."""
    if len(settled) == 1:
        return one_writer(call, content, chosen)(settled[0])
    return encode_general(call, content, chosen, settled)


def encode_general(
    call: InferRequest,
    content: ReleaseContent,
    chosen: Chosen,
    settled: Sequence[Settled],
) -> tuple[bytes, int | None]:
    """An answer of any number of rows."""
    outputs, tails = [], []
    for tensor, binary in chosen:
        values = _OUTPUT[tensor.name](settled, tensor)
        shape = [len(settled), *tensor.sizes]
        if binary:
            raw = to_raw(tensor.datatype, values)
            tails.append(raw)
            outputs.append(
                InferOutput(tensor.name, tensor.datatype, shape, UNSET, {BINARY_SIZE: len(raw)})
            )
        else:
            outputs.append(InferOutput(tensor.name, tensor.datatype, shape, values))
    answer = InferResponse(
        content.endpoint,
        str(content.number),
        outputs,
        call.id,
        _facts(settled, content),
    )
    encoded = _encode(answer)
    if not any(binary for _, binary in chosen):
        return encoded, None
    return b"".join((encoded, *tails)), len(encoded)


def one_writer(call: InferRequest, content: ReleaseContent, chosen: Chosen) -> Writer:
    """What writes the answer of one row: the same bytes, from parts that never change."""
    name = b"" if call.id is UNSET else b',"id":' + _encode(call.id)
    before = b'{"model_name":%b,"model_version":"%d","outputs":[' % (
        _encode(content.endpoint),
        content.number,
    )
    behind = b']%b,"parameters":{"durability":"%b","decision_id":"' % (
        name,
        content.policies.durability.encode(),
    )
    parts = []
    for tensor, binary in chosen:
        word = b'%b,"parameters":{"binary_data_size":' if binary else b'%b,"data":'
        parts.append((before + word % tensor.one, tensor, _OUTPUT[tensor.name], binary))
        before = b"},"
    behind = (b"}" if parts else before) + behind
    any_binary = any(binary for _, binary in chosen)

    def write(settled: Settled) -> tuple[bytes, int | None]:
        one = (settled,)
        pieces, tails = [], []
        for text, tensor, read, binary in parts:
            values = read(one, tensor)
            pieces.append(text)
            if not binary:
                pieces.append(_encode(values))
                continue
            raw = (
                tensor.pack(*values) if tensor.pack is not None else to_raw(tensor.datatype, values)
            )
            tails.append(raw)
            pieces.append(b"%d}" % len(raw))
        pieces += (behind, uuid_text(settled[0]), _one_facts(settled))
        if not any_binary:
            return b"".join(pieces), None
        size = sum(map(len, pieces))
        return b"".join(pieces + tails), size

    return write


def _one_facts(settled: Settled) -> bytes:
    """The end of an answer: which leaf answered."""
    _, arm, _, _, decision, decision_rule, _ = settled
    return _fixed_facts(
        arm.rule, arm.model, arm.version, arm.name, decision, decision_rule, arm.reason
    )


@lru_cache(maxsize=4096)
def _fixed_facts(*values: str | int | None) -> bytes:
    """Members that say which leaf answered; a table has a bounded number of them."""
    found = dict(zip(_FACTS, values, strict=True))
    found["variant"] = found["variant"] or None
    given = {name: value for name, value in found.items() if value is not None}
    return b'",' + _encode(given)[1:] + b"}" if given else b'"}}'


_FACTS = ("rule", "model", "version", "variant", "decision", "decision_rule", "reason")


def _facts(settled: Sequence[Settled], content: ReleaseContent) -> Parameters:
    """What routed a single row, flat; for a batch ask for the outputs of these names."""
    facts: Parameters = {"durability": content.policies.durability}
    if len(settled) == 1:
        record_id, arm, _, _, decision, decision_rule, _ = settled[0]
        given = {
            "decision_id": uuid_text(record_id).decode(),
            "rule": arm.rule,
            "model": arm.model,
            "version": arm.version,
            "variant": arm.name or None,
            "decision": decision,
            "decision_rule": decision_rule,
            "reason": arm.reason,
        }
        facts.update({name: value for name, value in given.items() if value is not None})
    return facts


def _probabilities(settled: Sequence[Settled], tensor: OutputTensor) -> list[Any]:
    none = (NAN,) * tensor.sizes[0]
    return [value for each in settled for value in (none if each[2] is None else each[2][1])]


def _outputs(place: int, missing: Any) -> Any:
    def read(settled: Sequence[Settled], _: OutputTensor) -> list[Any]:
        return [missing if each[2] is None else each[2][place] for each in settled]

    return read


_OUTPUT: dict[str, Any] = {
    "label": _outputs(0, ""),
    "probabilities": _probabilities,
    "value": _outputs(0, NAN),
    "cluster": _outputs(0, -1),
    "distance": _outputs(1, NAN),
    "decision": lambda settled, _: [each[4] or "" for each in settled],
    "id": lambda settled, _: [uuid_text(each[0]).decode() for each in settled],
    "rule": lambda settled, _: [each[1].rule for each in settled],
    "model": lambda settled, _: [each[1].model or "" for each in settled],
    "decision_rule": lambda settled, _: [each[5] or "" for each in settled],
}
