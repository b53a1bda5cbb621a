"""Frames become rows, grouped into Merkle batches; what cannot become a row is set aside."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from serving.audit import merkle
from serving.audit.frame import EVENT, GAP, GAP_BODY
from serving.audit.link import day_of
from serving.audit.privacy import Privacy
from serving.audit.record import (
    SCHEMA_VERSION,
    AuditRecord,
    EventRecord,
    decode_event,
    decode_record,
    uuid7_source,
)
from serving.audit.recover import Frame
from serving.audit.row import as_uuid, event_values, leaf_bytes, record_values
from serving.audit.tail import Range

ID_BYTES = 16
ANSWERED = 200
DAY_US = 86_400_000_000
_next_id = uuid7_source(os.getpid())


class Poison(Struct, frozen=True):
    """A frame that cannot become a row, with the reason."""

    source: Range
    frame: Frame
    reason: str


class Row(Struct, gc=False):
    """One record on its way: its frame, its values and its leaf hash."""

    source: Range
    frame: Frame
    values: list[Any]
    leaf: bytes


class Group(Struct):
    """Rows of one retention class and day: one Merkle batch."""

    retention_class: str
    day: date
    rows: list[Row]
    first_us: int
    last_us: int
    explain: int = 0


class Counts(Struct):
    """What became of the frames of one range; together they account for every sequence number."""

    records: int = 0
    part_rows: int = 0
    events: int = 0
    quarantined: int = 0
    dropped: int = 0


class Shipment(Struct):
    """Everything one transaction writes.

    Attributes:
        ranges: the segment ranges, one ledger row each.
        counts: what became of each range's frames, in the same order.
        groups: records by class and day.
        events: values of event rows.
        protected: values of rows of protected attributes.
        poison: frames for the quarantine.
    """

    ranges: list[Range]
    counts: list[Counts]
    groups: list[Group]
    events: list[list[Any]]
    protected: list[tuple[Any, ...]]
    poison: list[Poison]

    def records(self) -> int:
        """Number of record rows."""
        return sum(len(group.rows) for group in self.groups)


def build(
    ranges: list[Range],
    privacy: Privacy,
    now_ns: int,
    bad: Mapping[tuple[str, int, int], str] | None = None,
) -> Shipment:
    """Turn ranges into rows.

    Args:
        ranges: what the tails gave.
        privacy: what is stored of the features.
        now_ns: wall clock, for events of the reading itself.
        bad: (writer, segment, offset) of frames that the database refused, with its reason.
    """
    builder = _Builder(ranges, privacy, now_ns)
    bad = bad or {}
    for source, counts in zip(ranges, builder.shipment.counts, strict=True):
        for frame in source.frames:
            # Hardly ever is anything known to be bad, and then no key is made for every frame.
            reason = bad.get((source.writer, source.place[2], frame.start)) if bad else None
            if reason is None:
                try:
                    builder.add(source, counts, frame)
                except (
                    AppError,
                    msgspec.MsgspecError,
                    ValueError,
                    TypeError,
                    OverflowError,
                ) as error:
                    reason = f"{type(error).__name__}: {error}"
            if reason is not None:
                builder.shipment.poison.append(Poison(source, frame, reason))
                counts.quarantined += 1
        for kind, body in _notices(source):
            builder.shipment.events.append(_notice(source.writer, kind, body, now_ns))
    builder.shipment.groups = list(builder.groups.values())
    return builder.shipment


class _Builder:
    """Collects rows by class and day."""

    def __init__(self, ranges: list[Range], privacy: Privacy, now_ns: int) -> None:
        self.shipment = Shipment(ranges, [Counts() for _ in ranges], [], [], [], [])
        self.groups: dict[tuple[str, int], Group] = {}
        self._privacy = privacy
        self._now_ns = now_ns

    def add(self, source: Range, counts: Counts, frame: Frame) -> None:
        """Add one frame's row; raises when it cannot become one, before anything was added."""
        if frame.kind == EVENT:
            event = _checked_event(decode_event(frame.payload), source.writer, frame)
            self.shipment.events.append(event)
            counts.events += 1
        elif frame.kind == GAP:
            dropped, first_ns = GAP_BODY.unpack(frame.payload)
            body = {"records": dropped, "first_ns": first_ns, "last_seq": frame.seq}
            self.shipment.events.append(_notice(source.writer, "spool.gap", body, self._now_ns))
            counts.dropped += dropped
        else:
            self._add_record(source, counts, frame)

    def _add_record(self, source: Range, counts: Counts, frame: Frame) -> None:
        record = decode_record(frame.payload)
        if len(record.id) != ID_BYTES:
            raise ValueError(f"expected an id of {ID_BYTES} bytes, got {len(record.id)}")
        features, protected = self._privacy.stored(record)
        values = record_values(record, features, source.writer, frame.seq)
        row = Row(source, frame, values, merkle.leaf_hash(leaf_bytes(values)))
        received_us = record.received_ns // 1000
        key = (record.retention_class, received_us // DAY_US)
        group = self.groups.get(key)
        if group is None:
            day = day_of(received_us)
            group = Group(record.retention_class, day, [], received_us, received_us)
            self.groups[key] = group
        group.rows.append(row)
        if received_us > group.last_us:
            group.last_us = received_us
        elif received_us < group.first_us:
            group.first_us = received_us
        if record.explain and record.status == ANSWERED:
            group.explain += 1
        counts.records += 1
        if record.part is not None:
            counts.part_rows += record.rows
        if protected is not None:
            self.shipment.protected.append(_protected_row(record, protected))


def _protected_row(record: AuditRecord, attributes: dict[str, Any]) -> tuple[Any, ...]:
    return (
        as_uuid(record.id),
        record.received_ns // 1000,
        record.endpoint,
        record.retention_class,
        msgspec.json.encode(attributes).decode(),
    )


def _checked_event(event: EventRecord, writer: str, frame: Frame) -> list[Any]:
    msgspec.json.decode(event.body)  # a body that is no JSON is poison
    return event_values(event, writer, frame.seq)


def _notices(source: Range) -> Iterable[tuple[str, dict[str, int]]]:
    """Events that the reading itself gives: damage is never silent."""
    segment = source.place[2]
    if source.damaged_bytes:
        yield "spool.damaged", {"segment": segment, "bytes": source.damaged_bytes}
    if source.torn_bytes:
        yield "spool.torn", {"segment": segment, "bytes": source.torn_bytes}


def _notice(writer: str, kind: str, body: dict[str, int], at_ns: int) -> list[Any]:
    """Values of an event of the shipper's own; it has no sequence number of the writer."""
    event = EventRecord(
        SCHEMA_VERSION, _next_id(at_ns), at_ns, kind, None, None, None, "shipper",
        msgspec.json.encode(body),
    )  # fmt: skip
    values = event_values(event, writer, 0)
    values[-1] = None
    return values
