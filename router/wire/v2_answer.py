"""Decisions as answers of the Open Inference Protocol, in JSON and in binary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from router.decide import Settled, uuid_text
from router.errors import BodyError
from router.release.spec import ReleaseContent
from router.wire.v2 import BINARY_SIZE, InferRequest, Parameters
from router.wire.v2_shapes import OutputTensor, V2Plan
from router.wire.v2_tensor import to_raw

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
    chosen: Sequence[tuple[OutputTensor, bool]],
    settled: Sequence[Settled],
) -> tuple[bytes, int | None]:
    """Body of an answer and the bytes of its JSON part (None when all of it is JSON)."""
    if len(settled) == 1:
        return _encode_one(call, content, chosen, settled[0])
    return encode_general(call, content, chosen, settled)


def encode_general(
    call: InferRequest,
    content: ReleaseContent,
    chosen: Sequence[tuple[OutputTensor, bool]],
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


def _encode_one(
    call: InferRequest,
    content: ReleaseContent,
    chosen: Sequence[tuple[OutputTensor, bool]],
    settled: Settled,
) -> tuple[bytes, int | None]:
    """The same bytes for one row, put together from parts that never change."""
    outputs, tails = [], []
    one = (settled,)
    for tensor, binary in chosen:
        values = _OUTPUT[tensor.name](one, tensor)
        if binary:
            raw = (
                tensor.pack(*values) if tensor.pack is not None else to_raw(tensor.datatype, values)
            )
            tails.append(raw)
            outputs.append(b'%b,"parameters":{"binary_data_size":%d}}' % (tensor.one, len(raw)))
        else:
            outputs.append(b'%b,"data":%b}' % (tensor.one, _encode(values)))
    name = b"" if call.id is UNSET else b',"id":' + _encode(call.id)
    encoded = b'{"model_name":%b,"model_version":"%d","outputs":[%b]%b,"parameters":{%b}}' % (
        _encode(content.endpoint),
        content.number,
        b",".join(outputs),
        name,
        _one_facts(settled, content.policies.durability),
    )
    if not tails:
        return encoded, None
    return b"".join((encoded, *tails)), len(encoded)


def _one_facts(settled: Settled, durability: str) -> bytes:
    """Members of the parameters of one row."""
    record_id, arm, _, _, decision, decision_rule, _ = settled
    fixed = _fixed_facts(
        arm.rule, arm.model, arm.version, arm.name, decision, decision_rule, arm.reason
    )
    return b'"durability":"%b","decision_id":"%b"%b' % (
        durability.encode(),
        uuid_text(record_id),
        fixed,
    )


@lru_cache(maxsize=4096)
def _fixed_facts(*values: str | int | None) -> bytes:
    """Members that say which leaf answered; a table has a bounded number of them."""
    found = dict(zip(_FACTS, values, strict=True))
    found["variant"] = found["variant"] or None
    given = {name: value for name, value in found.items() if value is not None}
    return b"," + _encode(given)[1:-1] if given else b""


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
