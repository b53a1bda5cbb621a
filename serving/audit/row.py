"""Records as database rows, and the canonical bytes that the chain commits to.

The hash covers exactly what the row holds, so it can be recomputed from the table or an export
alone: the values of ``RECORD_COLUMNS`` in order, as one msgpack array, times in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from asyncpg.pgproto.pgproto import UUID

from serving.audit.record import AuditRecord, EventRecord

RECORD_COLUMNS = (
    "id", "received_at", "decided_at", "endpoint", "release", "rule", "unknown", "model",
    "version", "package_digest", "key_id", "request_id", "subject_ref", "decision",
    "decision_rule", "idempotency_key", "part", "status", "durability", "retention_class",
    "features", "context", "defaults", "outputs", "error", "latency_us", "explain",
    "traceparent", "reason", "rows", "schema_version", "writer", "seq",
)  # fmt: skip
"""Columns under the hash, in the order of the hash. Never reordered; new ones go to the end."""

EVENT_COLUMNS = (
    "id", "at", "kind", "endpoint", "record_id", "subject_ref", "actor", "body",
    "retention_class", "writer", "seq",
)  # fmt: skip

EXPLANATION_COLUMNS = (
    "id", "received_at", "endpoint", "package_digest", "method", "space", "base", "phi",
    "reasons", "residual", "state", "detail", "created_at",
)  # fmt: skip

COLUMNS: dict[str, tuple[str, ...]] = {
    "records": RECORD_COLUMNS,
    "events": EVENT_COLUMNS,
    "explanations": EXPLANATION_COLUMNS,
}
"""Columns under the hash by kind of batch."""

PLACE = ("batch", "leaf")

_pack: Callable[[Any], bytes] = msgspec.msgpack.Encoder(order="sorted").encode


def leaf_bytes(values: Sequence[Any]) -> bytes:
    """Canonical bytes of one row.

    Args:
        values: in the order of the kind's columns: ids as 16 bytes, times as integer microseconds
            since the epoch, JSON columns of records as the stored bytes, of events as their text,
            ``phi`` as a mapping from feature to float.
    """
    return _pack(values)


def record_values(record: AuditRecord, features: bytes, writer: str, seq: int) -> list[Any]:
    """Values of ``RECORD_COLUMNS`` for a record.

    Args:
        record: as the worker wrote it.
        features: JSON as it is stored: without protected values, sensitive ones sealed.
        writer: name of the writer.
        seq: sequence number within the writer.
    """
    return [
        record.id,
        record.received_ns // 1000,
        record.decided_ns // 1000,
        record.endpoint,
        record.release,
        record.rule,
        record.unknown,
        record.model,
        record.version,
        record.package_digest,
        record.key_id,
        record.request_id,
        record.subject_ref,
        record.decision,
        record.decision_rule,
        record.idempotency_key,
        record.part,
        record.status,
        record.durability,
        record.retention_class,
        features,
        record.context,
        record.defaults,
        record.outputs,
        record.error,
        record.latency_us,
        record.explain,
        record.traceparent,
        record.reason,
        record.rows,
        record.schema_version,
        writer,
        seq,
    ]


def event_values(event: EventRecord, writer: str, seq: int) -> list[Any]:
    """Values of ``EVENT_COLUMNS`` for an event that came through a spool."""
    return [
        event.id,
        event.at_ns // 1000,
        event.kind,
        event.endpoint,
        event.record_id,
        event.subject_ref,
        event.actor,
        event.body.decode(),
        event.retention_class,
        writer,
        seq,
    ]


def as_uuid(value: bytes | None) -> UUID | None:
    """16 bytes as the driver's id type."""
    return None if value is None else UUID(value)


def stored_values(kind: str, row: Sequence[Any]) -> list[Any]:
    """Values as :func:`leaf_bytes` takes them, from a fetched row of the kind's columns.

    Ids come as UUID objects, times as integer microseconds (see ``link.prepare``), ``phi`` as JSON
    text.
    """
    values = list(row)
    values[0] = values[0].bytes
    if kind == "events":
        values[4] = None if values[4] is None else values[4].bytes
    elif kind == "explanations":
        values[7] = msgspec.json.decode(values[7], type=dict[str, float])
    return values
