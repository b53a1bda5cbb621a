"""Decisions as answers of the Open Inference Protocol, in JSON and in binary."""

from __future__ import annotations

from collections.abc import Sequence
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
