"""Decisions as answers of the Open Inference Protocol, in JSON and in binary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
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
WORDS = frozenset({"label", "decision", "rule", "model", "decision_rule"})
"""Outputs that leaf, label and decision determine."""
MOST_KNOWN = 1024
"""Combinations of these that a writer keeps; a table has a bounded number of them."""
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

    def values(tensor: OutputTensor, binary: bool) -> Any:
        read = _reader(tensor)
        found = [value for each in settled for value in read(each)]
        return to_raw(tensor.datatype, found) if binary else found

    return put_together(call, content, chosen, len(settled), values, _facts(settled, content))


def put_together(  # noqa: PLR0917 - the parts of an answer
    call: InferRequest,
    content: ReleaseContent,
    chosen: Chosen,
    rows: int,
    values: Callable[[OutputTensor, bool], Any],
    facts: Parameters,
) -> tuple[bytes, int | None]:
    """An answer out of its outputs.

    Args:
        call: what was asked.
        content: release that answers.
        chosen: outputs to give.
        rows: their batch size.
        values: of an output: bytes where it is binary, else what becomes a JSON list.
        facts: parameters of the answer.
    """
    outputs, tails = [], []
    for tensor, binary in chosen:
        found = values(tensor, binary)
        shape = [rows, *tensor.sizes]
        if binary:
            tails.append(found)
            said: Parameters = {BINARY_SIZE: len(found)}
            outputs.append(InferOutput(tensor.name, tensor.datatype, shape, UNSET, said))
        else:
            outputs.append(InferOutput(tensor.name, tensor.datatype, shape, found))
    encoded = _encode(InferResponse(content.endpoint, str(content.number), outputs, call.id, facts))
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
        parts.append((before + word % tensor.one, _reader(tensor), tensor, binary))
        before = b"},"
    behind = (b"}" if parts else before) + behind
    if not any(binary for _, _, _, binary in parts):
        return _json_writer([(text, read, tensor.name) for text, read, tensor, _ in parts], behind)

    def write(settled: Settled) -> tuple[bytes, int | None]:
        pieces: list[bytes] = []
        tails: list[bytes] = []
        for text, read, tensor, binary in parts:
            values = read(settled)
            if not binary:
                pieces += (text, _encode(values))
                continue
            raw = (
                tensor.pack(*values) if tensor.pack is not None else to_raw(tensor.datatype, values)
            )
            tails.append(raw)
            pieces += (text, b"%d}" % len(raw))
        pieces += (behind, uuid_text(settled[0]), _one_facts(settled))
        size = sum(map(len, pieces))
        return b"".join(pieces + tails), size

    return write


def _json_writer(
    parts: Sequence[tuple[bytes, Callable[[Settled], Sequence[Any]], str]], behind: bytes
) -> Writer:
    """What writes an answer without binary data.

    Leaf, label and decision say everything but numbers and ids; what belongs to such a combination
    is put together once.
    """
    labelled = any(name == "label" for _, _, name in parts)
    known: dict[Any, tuple[bytes, tuple[Any, ...], bytes]] = {}

    def learn(key: Any, settled: Settled) -> tuple[bytes, tuple[Any, ...], bytes]:
        texts, reads = [b""], []
        for piece, read, name in parts:
            texts[-1] += piece
            if name in WORDS:
                texts[-1] += _encode(read(settled))
            else:
                reads.append(read)
                texts.append(b"")
        texts[-1] += behind
        if len(known) >= MOST_KNOWN:
            known.clear()
        between = tuple(zip(reads, texts[1:], strict=True))
        found = known[key] = texts[0], between, _one_facts(settled)
        return found

    def write(settled: Settled) -> tuple[bytes, int | None]:
        record_id, arm, out, _, decision, decision_rule, _ = settled
        key = arm, out[0] if labelled and out is not None else None, decision, decision_rule
        text, between, facts = known.get(key) or learn(key, settled)
        pieces = [text]
        for read, text in between:
            pieces += (_encode(read(settled)), text)
        pieces += (uuid_text(record_id), facts)
        return b"".join(pieces), None

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


def batch_facts(content: ReleaseContent) -> Parameters:
    """Parameters of any answer."""
    return {"durability": content.policies.durability}


def _facts(settled: Sequence[Settled], content: ReleaseContent) -> Parameters:
    """What routed a single row, flat; for a batch ask for the outputs of these names."""
    facts = batch_facts(content)
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


def _output(place: int, missing: Any) -> Callable[[Settled], Sequence[Any]]:
    def read(settled: Settled) -> Sequence[Any]:
        return (missing if settled[2] is None else settled[2][place],)

    return read


_ONE: dict[str, Callable[[Settled], Sequence[Any]]] = {
    "label": _output(0, ""),
    "value": _output(0, NAN),
    "cluster": _output(0, -1),
    "distance": _output(1, NAN),
    "decision": lambda settled: (settled[4] or "",),
    "id": lambda settled: (uuid_text(settled[0]).decode(),),
    "rule": lambda settled: (settled[1].rule,),
    "model": lambda settled: (settled[1].model or "",),
    "decision_rule": lambda settled: (settled[5] or "",),
}
"""Values of each output for one row."""


def _probabilities(settled: Settled, tensor: OutputTensor) -> Sequence[Any]:
    none = (NAN,) * tensor.sizes[0]
    return none if settled[2] is None else settled[2][1]


def _reader(tensor: OutputTensor) -> Callable[[Settled], Sequence[Any]]:
    if tensor.name == "probabilities":
        return partial(_probabilities, tensor=tensor)
    return _ONE[tensor.name]
