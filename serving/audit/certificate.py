"""Completeness: every sequence number that a writer gave out is accounted for.

Per writer, from the ledger alone and then against the rows:

    records + events + quarantined + dropped = last sequence = frames the writer wrote
    records the ledger counted               = rows in the tables (or disposed of by policy)
    answers the writer noted                <= last sequence

A part record is one sequence number that stands for many rows; these are told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import asyncpg
from msgspec import Struct

WRITERS = """
SELECT node || '/' || boot || '/' || worker AS writer, max(last_seq) AS last_seq,
       sum(records) AS records, sum(part_rows) AS part_rows, sum(events) AS events,
       sum(quarantined) AS quarantined, sum(dropped) AS dropped,
       sum(damaged_bytes) AS damaged_bytes, sum(torn_bytes) AS torn_bytes,
       max(answered) AS answered, min(shipped_at) AS first_at, max(shipped_at) AS last_at
  FROM audit_ledger GROUP BY node, boot, worker
HAVING $1::date IS NULL OR max(shipped_at) >= $1::date::timestamp AT TIME ZONE 'UTC'
 ORDER BY first_at
"""
STORED = """
SELECT writer, count(*) AS rows, count(DISTINCT seq) AS seqs, min(seq) AS first, max(seq) AS last
  FROM audit_records WHERE writer = ANY($1) GROUP BY writer
"""
DAYS = """
SELECT b.day, b.retention_class, count(*) AS batches, sum(b.leaves) AS leaves,
       (SELECT count(*) FROM audit_records AS r WHERE r.retention_class = b.retention_class
           AND r.received_at >= b.day::timestamp AT TIME ZONE 'UTC'
           AND r.received_at < (b.day + 1)::timestamp AT TIME ZONE 'UTC') AS rows,
       (SELECT d.rows FROM audit_disposals AS d WHERE d.retention_class = b.retention_class
           AND d.day = b.day) AS disposed
  FROM audit_batches AS b
 WHERE b.kind = 'records' AND ($1::date IS NULL OR b.day >= $1)
   AND ($2::date IS NULL OR b.day <= $2)
 GROUP BY b.day, b.retention_class ORDER BY b.day, b.retention_class
"""
HEAD = "SELECT position, head FROM audit_chain ORDER BY position DESC LIMIT 1"
MISSING = """
SELECT s.n FROM generate_series(1, $2::bigint) AS s (n)
EXCEPT SELECT seq FROM audit_records WHERE writer = $1
EXCEPT SELECT seq FROM audit_events WHERE writer = $1
EXCEPT SELECT seq FROM audit_quarantine WHERE writer = $1
ORDER BY 1 LIMIT 20
"""


class WriterLine(Struct, frozen=True):
    """One writer in one boot.

    Attributes:
        writer: node, boot and worker.
        last_seq: highest sequence number seen.
        records, events, quarantined, dropped: what became of them.
        part_rows: rows that its part records stand for.
        rows: its rows in the tables now.
        answered: answers it noted as sent; -1 when it does not count them.
        damaged_bytes, torn_bytes: what could not be read from its segments.
        complete: everything is accounted for.
        missing: the first sequence numbers that are not.
    """

    writer: str
    last_seq: int
    records: int
    events: int
    quarantined: int
    dropped: int
    part_rows: int
    rows: int
    answered: int
    damaged_bytes: int
    torn_bytes: int
    complete: bool
    missing: tuple[int, ...] = ()


class DayLine(Struct, frozen=True):
    """One day of one retention class: rows promised by batches, rows there or disposed of."""

    day: date
    retention_class: str
    batches: int
    leaves: int
    rows: int
    disposed: int
    complete: bool


class Certificate(Struct, frozen=True):
    """What is certified; ``complete`` only if every line is.

    Attributes:
        since: first day of the day lines; None for all.
        until: last one.
        writers: writers that shipped since then.
        days: per day and retention class.
        position: end of the chain.
        head: hex of its head.
        complete: whether every line is complete.
    """

    since: date | None
    until: date | None
    writers: tuple[WriterLine, ...]
    days: tuple[DayLine, ...]
    position: int
    head: str
    complete: bool


async def certify(
    connection: asyncpg.Connection, *, since: date | None = None, until: date | None = None
) -> Certificate:
    """Account for every sequence number, from one consistent snapshot.

    Cost: counts the rows of the writers and days concerned.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        ledger = await connection.fetch(WRITERS, since)
        names = [row["writer"] for row in ledger]
        stored = {row["writer"]: row for row in await connection.fetch(STORED, names)}
        days = tuple(_day(row) for row in await connection.fetch(DAYS, since, until))
        disposed = any(day.disposed for day in days)
        writers = []
        for row in ledger:
            line = _writer(row, stored.get(row["writer"]), disposed=disposed)
            if not line.complete:
                found = await connection.fetch(MISSING, line.writer, line.last_seq)
                line = _with_missing(line, tuple(each[0] for each in found))
            writers.append(line)
        head = await connection.fetchrow(HEAD)
    complete = all(line.complete for line in writers) and all(day.complete for day in days)
    return Certificate(
        since,
        until,
        tuple(writers),
        days,
        head["position"] if head else 0,
        head["head"].hex() if head else "",
        complete,
    )


def _writer(
    row: Mapping[str, Any], stored: Mapping[str, Any] | None, *, disposed: bool
) -> WriterLine:
    rows = stored["rows"] if stored else 0
    distinct = stored["seqs"] if stored else 0
    records = int(row["records"])
    accounted = records + int(row["events"]) + int(row["quarantined"]) + int(row["dropped"])
    there = rows == distinct and (rows == records or (disposed and rows <= records))
    return WriterLine(
        writer=row["writer"],
        last_seq=row["last_seq"],
        records=records,
        events=int(row["events"]),
        quarantined=int(row["quarantined"]),
        dropped=int(row["dropped"]),
        part_rows=int(row["part_rows"]),
        rows=rows,
        answered=row["answered"],
        damaged_bytes=int(row["damaged_bytes"]),
        torn_bytes=int(row["torn_bytes"]),
        complete=accounted == row["last_seq"] and there and row["answered"] <= row["last_seq"],
    )


def _with_missing(line: WriterLine, missing: tuple[int, ...]) -> WriterLine:
    values = {name: getattr(line, name) for name in line.__struct_fields__}
    return WriterLine(**{**values, "missing": missing})


def _day(row: Mapping[str, Any]) -> DayLine:
    gone = row["disposed"] or 0
    leaves = int(row["leaves"])
    return DayLine(
        row["day"], row["retention_class"], row["batches"], leaves, row["rows"], gone,
        row["rows"] + gone == leaves,
    )  # fmt: skip
