"""The audit record: one per request that names an endpoint, written before its answer is sent.

Records are msgpack arrays: field order is the format, fields are only ever appended. ``features``
and ``context`` stay the bytes that were received; the shipper decodes them, never the hot path.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
from msgspec import Struct

SCHEMA_VERSION = 1
RANDOM_BITS = 38


class AuditRecord(Struct, array_like=True, gc=False):
    """One decision (or one refused or failed attempt at one).

    Attributes:
        schema_version: version of this field list.
        id: UUIDv7 in 16 bytes; its milliseconds are those of ``received_ns``.
        received_ns: wall clock when the request was read, ns since the epoch, UTC.
        decided_ns: wall clock when the answer was ready.
        endpoint: endpoint that was asked.
        release: release number that answered.
        rule: id of the deciding rule, empty when none was reached.
        unknown: ids of the rules that were UNKNOWN before it, in order.
        model: model that scored, None when none did.
        version: its version.
        package_digest: ``sha256:<hex>`` of its package.
        key_id: routing key that authenticated the caller.
        request_id: the caller's own id.
        subject_ref: keyed HMAC of whom the decision is about.
        decision: word from the decision table.
        decision_rule: rule of the decision table that gave it.
        idempotency_key: the caller's key, when given.
        part: digest of a columnar part that holds many rows, when this record stands for one.
        status: HTTP status of the answer.
        durability: level the answer was given with.
        retention_class: retention class fixed in the release.
        features: received JSON object.
        context: received JSON object.
        defaults: features whose default was applied.
        outputs: JSON of the model's outputs.
        error: JSON problem document of a refused request.
        latency_us: from read to answer.
        explain: 0 no near-line explanation is wanted, 1 of an adverse decision, 2 of both sides,
            3 of both sides while its model's explanations are cheap.
        traceparent: W3C trace context of the caller.
        reason: reason of a reject consequent.
        rows: rows a part stands for; 1 otherwise.
        protected: features the release marks protected: kept apart from the record.
        sensitive: features the release marks sensitive: sealed before they are stored.
    """

    schema_version: int
    id: bytes
    received_ns: int
    decided_ns: int
    endpoint: str
    release: int
    rule: str
    unknown: tuple[str, ...]
    model: str | None
    version: int | None
    package_digest: str | None
    key_id: str
    request_id: str | None
    subject_ref: str | None
    decision: str | None
    decision_rule: str | None
    idempotency_key: str | None
    part: str | None
    status: int
    durability: str
    retention_class: str
    features: bytes
    context: bytes | None
    defaults: tuple[str, ...]
    outputs: bytes | None
    error: bytes | None
    latency_us: int
    explain: int
    traceparent: str | None = None
    reason: str | None = None
    rows: int = 1
    protected: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()


class EventRecord(Struct, array_like=True, gc=False):
    """A linked event of the data plane: an outcome, an override, a count of refused requests.

    Attributes:
        schema_version: version of this field list.
        id: UUIDv7 in 16 bytes.
        at_ns: wall clock, ns since the epoch, UTC.
        kind: ``outcome``, ``override``, ``refusals``, ``drain``, ...
        endpoint: endpoint it belongs to, when one is known.
        record_id: id of the record it is about, when one is known.
        subject_ref: keyed HMAC of whom it is about.
        actor: key or person that sent it.
        body: JSON object.
        retention_class: class of the endpoint.
    """

    schema_version: int
    id: bytes
    at_ns: int
    kind: str
    endpoint: str | None
    record_id: bytes | None
    subject_ref: str | None
    actor: str
    body: bytes
    retention_class: str = "default"


encode_record: Callable[[AuditRecord | EventRecord], bytes] = msgspec.msgpack.Encoder().encode
"""Payload of one frame."""

decode_record: Callable[[bytes], AuditRecord] = msgspec.msgpack.Decoder(AuditRecord).decode
decode_event: Callable[[bytes], EventRecord] = msgspec.msgpack.Decoder(EventRecord).decode


def uuid7_source(worker: int) -> Callable[[int], bytes]:
    """A generator of UUIDv7 ids, unique across workers and nodes, increasing within one source.

    The layout is 48 bits of milliseconds, 12 random bits drawn once, a 24-bit counter, and 38 bits
    that identify the source (30 random, the low 8 of the worker number). The milliseconds are
    exactly those of the given time, so that a look-up by id finds the day of its partition even
    when the clock was stepped; the counter keeps ids apart when a time comes twice.

    Args:
        worker: number of the worker within its node.

    Source:
        RFC 9562 section 5.7.
    """
    drawn = int.from_bytes(os.urandom(6), "big")
    source = (drawn & 0x3FFF_FFFF) << 8 | (worker & 0xFF)
    base = (0x7 << 76) | ((drawn >> 30 & 0xFFF) << 64) | (0b10 << 62) | source
    counter = int.from_bytes(os.urandom(2), "big")

    def next_id(now_ns: int) -> bytes:
        nonlocal counter
        counter = (counter + 1) & 0xFF_FFFF
        return (((now_ns // 1_000_000) << 80) | base | (counter << RANDOM_BITS)).to_bytes(16, "big")

    return next_id


def uuid7_ms(record_id: bytes) -> int:
    """Milliseconds since the epoch that a UUIDv7 carries."""
    return int.from_bytes(record_id[:6], "big")
