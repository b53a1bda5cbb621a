"""The shipper's transaction: ledger, rows, batches and quarantine, all or nothing.

The ledger row goes first: if another shipper has the range, the transaction ends before any data
moved. Whether a transaction whose answer was lost took effect is read from the ledger and from
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import asyncpg
from msgspec import Struct

from compiler.errors import AppError
from serving.audit import merkle
from serving.audit.batch import Group, Row, Shipment
from serving.audit.frame import RECORD
from serving.audit.row import (
    EVENT_COLUMNS,
    EXPLANATION_COLUMNS,
    PLACE,
    RECORD_COLUMNS,
    as_uuid,
)
from serving.audit.tail import Cursor, Place

READ_CURSORS = """
SELECT w.boot, w.worker, w.segment, l.to_off, l.closed,
       (SELECT m.last_seq FROM audit_ledger AS m
         WHERE (m.node, m.boot, m.worker) = ($1, w.boot, w.worker) AND m.segment <= w.segment
           AND m.last_seq > 0
         ORDER BY m.segment DESC, m.from_off DESC LIMIT 1) AS last_seq
  FROM unnest($2::text[], $3::int[], $4::bigint[]) AS w (boot, worker, segment)
  LEFT JOIN LATERAL (
       SELECT to_off, closed FROM audit_ledger
        WHERE (node, boot, worker, segment) = ($1, w.boot, w.worker, w.segment)
        ORDER BY from_off DESC LIMIT 1) AS l ON true
"""

WRITE_LEDGER = """
INSERT INTO audit_ledger (node, boot, worker, segment, from_off, to_off, first_seq, last_seq,
       records, part_rows, events, quarantined, dropped, damaged_bytes, torn_bytes, answered,
       closed)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
 WHERE $5 = coalesce((SELECT max(to_off) FROM audit_ledger
                       WHERE (node, boot, worker, segment) = ($1, $2, $3, $4)), $18)
RETURNING 1
"""

WRITE_BATCH = """
INSERT INTO audit_batches
       (id, kind, retention_class, day, leaves, root, leaf_hashes, first_at, last_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

NEXT_BATCHES = "SELECT nextval('audit_batch_ids') FROM generate_series(1, $1)"

WANT_EXPLANATIONS = "INSERT INTO audit_unexplained (batch, wanted) VALUES ($1, $2)"

WRITE_QUARANTINE = """
INSERT INTO audit_quarantine (writer, segment, off, seq, kind, payload, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

PROTECTED_COLUMNS = ("record_id", "received_at", "endpoint", "retention_class", "attributes")

ROW_FAULTS = frozenset(("22", "23", "54"))
"""SQLSTATE classes that blame a value: data exception, constraint, program limit."""
DRIVER_FAULTS = (TypeError, ValueError, OverflowError)
"""What the driver raises for a value it cannot encode."""
REASON_CHARS = 500


class LedgerConflict(AppError):  # noqa: N818 - names what happened
    """The ledger does not continue where this range begins: another shipper was faster."""

    code = "audit.ledger_conflict"


def blames_a_row(error: BaseException) -> bool:
    """Whether an error says that a value cannot be stored, as opposed to a server in trouble."""
    if isinstance(error, asyncpg.PostgresError):
        return str(getattr(error, "sqlstate", "") or "")[:2] in ROW_FAULTS
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)
    return isinstance(error, DRIVER_FAULTS)


async def read_cursors(
    connection: asyncpg.Connection, node: str, places: Sequence[Place], start: int
) -> dict[Place, Cursor]:
    """What the ledger says about these segments.

    Args:
        connection: any.
        node: name of the node.
        places: segments.
        start: offset of the first frame in a segment the ledger does not know.
    """
    boots, workers, numbers = zip(*places, strict=True) if places else ((), (), ())
    rows = await connection.fetch(READ_CURSORS, node, boots, workers, numbers)
    return {
        (row["boot"], row["worker"], row["segment"]): Cursor(
            row["to_off"] or start, row["last_seq"] or 0, bool(row["closed"])
        )
        for row in rows
    }


async def write_shipment(
    connection: asyncpg.Connection, node: str, shipment: Shipment, start: int
) -> None:
    """Everything of one shipment, in one transaction.

    Raises:
        LedgerConflict: another shipper has one of the ranges.
        asyncpg.PostgresError: see ``blames_a_row``.
    """
    async with connection.transaction():
        await _write_ledger(connection, node, shipment, start)
        await write_groups(connection, shipment.groups)
        if shipment.events:
            await copy_events(connection, shipment.events)
        if shipment.protected:
            await connection.copy_records_to_table(
                "audit_protected", records=shipment.protected, columns=PROTECTED_COLUMNS
            )
        for each in shipment.poison:
            frame = each.frame
            await connection.execute(
                WRITE_QUARANTINE,
                each.source.writer,
                each.source.place[2],
                frame.start,
                frame.seq,
                "record" if frame.kind == RECORD else "event",
                frame.payload,
                each.reason.replace("\0", "\\0")[:REASON_CHARS],
            )


async def _write_ledger(
    connection: asyncpg.Connection, node: str, shipment: Shipment, start: int
) -> None:
    for each, counts in zip(shipment.ranges, shipment.counts, strict=True):
        boot, worker, segment = each.place
        try:
            written = await connection.fetchval(
                WRITE_LEDGER,
                node,
                boot,
                worker,
                segment,
                each.from_off,
                each.to_off,
                each.frames[0].seq if each.frames else 0,
                each.frames[-1].seq if each.frames else 0,
                counts.records,
                counts.part_rows,
                counts.events,
                counts.quarantined,
                counts.dropped,
                each.damaged_bytes,
                each.torn_bytes,
                min(each.answered, (1 << 63) - 1),
                each.closed,
                start,
            )
        except asyncpg.UniqueViolationError:
            written = None
        if written is None:
            raise LedgerConflict(
                f"segment {boot}-{worker}-{segment} is not at {each.from_off} any more", at=node
            )


async def write_groups(connection: asyncpg.Connection, groups: Sequence[Group]) -> None:
    """Record rows with their batches; work for the explainer where a row asks for it."""
    if not groups:
        return
    numbers = [row[0] for row in await connection.fetch(NEXT_BATCHES, len(groups))]
    for number, group in zip(numbers, groups, strict=True):
        await copy_rows(connection, number, group.rows)
        batch = NewBatch(
            number,
            "records",
            group.retention_class,
            group.day,
            [row.leaf for row in group.rows],
            (group.first_us, group.last_us),
        )
        await write_batch(connection, batch)
        if group.explain:
            await connection.execute(WANT_EXPLANATIONS, number, group.explain)


class NewBatch(Struct, frozen=True):
    """A batch to be written; ``span_us`` are its first and last time in microseconds."""

    id: int
    kind: str
    retention_class: str
    day: date
    leaves: list[bytes]
    span_us: tuple[int, int]


async def write_batch(connection: asyncpg.Connection, batch: NewBatch) -> None:
    """Write a batch; a trigger puts it on the list of those that the chain lacks."""
    await connection.execute(
        WRITE_BATCH,
        batch.id,
        batch.kind,
        batch.retention_class,
        batch.day,
        len(batch.leaves),
        merkle.root(batch.leaves),
        b"".join(batch.leaves),
        *batch.span_us,
    )


async def copy_rows(connection: asyncpg.Connection, batch: int, rows: Iterable[Row]) -> None:
    """COPY record rows into the partitioned table."""
    await connection.copy_records_to_table(
        "audit_records",
        records=[(as_uuid(r.values[0]), *r.values[1:], batch, k) for k, r in enumerate(rows)],
        columns=(*RECORD_COLUMNS, *PLACE),
    )


async def copy_events(connection: asyncpg.Connection, events: Iterable[list[Any]]) -> None:
    """COPY event rows."""
    await connection.copy_records_to_table(
        "audit_events",
        records=[(as_uuid(v[0]), *v[1:4], as_uuid(v[4]), *v[5:]) for v in events],
        columns=EVENT_COLUMNS,
    )


async def copy_explanations(
    connection: asyncpg.Connection, batch: int, rows: Iterable[Sequence[Any]], encode: Any
) -> None:
    """COPY explanation rows; ``encode`` turns the ``phi`` mapping into JSON text."""
    await connection.copy_records_to_table(
        "audit_explanations",
        records=[
            (as_uuid(v[0]), *v[1:7], encode(v[7]), *v[8:], batch, k) for k, v in enumerate(rows)
        ],
        columns=(*EXPLANATION_COLUMNS, *PLACE),
    )


async def find_bad(
    connection: asyncpg.Connection, shipment: Shipment
) -> dict[tuple[str, int, int], str]:
    """Frames that the database refuses, found by halving; nothing of it is kept.

    Returns:
        Reason by (writer, segment, offset); empty when every row is fine by itself.

    Cost: about 2 k log2(n) COPYs for k bad rows among n.
    """
    bad: dict[tuple[str, int, int], str] = {}
    transaction = connection.transaction()
    await transaction.start()
    try:
        rows = [row for group in shipment.groups for row in group.rows]
        await _halve(connection, rows, bad)
        await _halve_events(connection, shipment, bad)
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return bad


async def _halve(
    connection: asyncpg.Connection, rows: list[Row], bad: dict[tuple[str, int, int], str]
) -> None:
    if not rows:
        return
    try:
        async with connection.transaction():
            await copy_rows(connection, 0, rows)
    except Exception as error:
        if not blames_a_row(error):
            raise
        if len(rows) == 1:
            source, frame = rows[0].source, rows[0].frame
            bad[source.writer, source.place[2], frame.start] = f"{type(error).__name__}: {error}"
            return
        middle = len(rows) // 2
        await _halve(connection, rows[:middle], bad)
        await _halve(connection, rows[middle:], bad)


async def _halve_events(
    connection: asyncpg.Connection, shipment: Shipment, bad: dict[tuple[str, int, int], str]
) -> None:
    """Try events one by one: they are few, and their rows do not know their frames."""
    frames = {
        (source.writer, frame.seq): (source, frame)
        for source in shipment.ranges
        for frame in source.frames
        if frame.kind != RECORD
    }
    for values in shipment.events:
        owner = frames.get((values[-2], values[-1]))
        if owner is None:
            continue
        try:
            async with connection.transaction():
                await copy_events(connection, [values])
        except Exception as error:
            if not blames_a_row(error):
                raise
            source, frame = owner
            bad[source.writer, source.place[2], frame.start] = f"{type(error).__name__}: {error}"
