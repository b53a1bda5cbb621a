"""Verify the evidence in the database, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from typing import Any

import asyncpg
from msgspec import Struct

from serving.audit import merkle
from serving.audit.chain import GENESIS, Batch
from serving.audit.row import COLUMNS, leaf_bytes, stored_values
from serving.audit.verify import (
    Finding,
    Leaf,
    Link,
    Report,
    SealedBatch,
    check_batch,
    check_checkpoints,
    check_links,
)

LINKS = """
SELECT c.position, c.previous, c.head, b.id, b.kind, b.retention_class, b.day, b.leaves, b.root
  FROM audit_chain AS c JOIN audit_batches AS b ON b.id = c.batch
 WHERE c.position > $1 ORDER BY c.position LIMIT $2
"""
BATCHES = """
SELECT id, kind, retention_class, day, leaves, root, leaf_hashes, first_at, last_at
  FROM audit_batches
 WHERE id > $1 AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day <= $3)
 ORDER BY id LIMIT $4
"""
DISPOSED = "SELECT retention_class, day FROM audit_disposals"
CHECKPOINTS = "SELECT envelope FROM audit_checkpoints ORDER BY position"


def _columns(kind: str, alias: str = "") -> str:
    return ", ".join(alias + name for name in COLUMNS[kind])


ROWS = {
    "records": f"""
SELECT {_columns("records")}, leaf FROM audit_records
 WHERE retention_class = $2 AND received_at BETWEEN $3 AND $4 AND batch = $1 ORDER BY leaf
""",  # noqa: S608 - column names are constants
    "explanations": f"""
SELECT {_columns("explanations")}, leaf FROM audit_explanations WHERE batch = $1
   AND $2::text IS NOT NULL AND $3::timestamptz <= $4::timestamptz ORDER BY leaf
""",  # noqa: S608
    "events": f"""
SELECT {_columns("events", "e.")}, l.leaf FROM audit_event_leaves AS l
  JOIN audit_events AS e ON e.id = l.event
 WHERE l.batch = $1 AND $2::text IS NOT NULL AND $3::timestamptz <= $4::timestamptz
 ORDER BY l.leaf
""",  # noqa: S608
}
"""Rows of a batch by kind: $1 batch, $2 retention class, $3 and $4 its first and last time."""

STRANGERS = """
SELECT r.id, r.batch, r.leaf FROM audit_records AS r
  LEFT JOIN audit_batches AS b ON b.id = r.batch AND b.kind = 'records'
 WHERE b.id IS NULL OR r.received_at NOT BETWEEN b.first_at AND b.last_at
    OR r.retention_class <> b.retention_class
 LIMIT $1
"""
"""Records that no batch covers, which the walk over the batches cannot see."""

NAMES = {"records": "record", "events": "event", "explanations": "explanation of"}
PAGE = 500
STRANGERS_SHOWN = 1000


class Page(Struct):
    """A batch from the database with the times that find its rows."""

    batch: SealedBatch
    first_us: int
    last_us: int


async def links(connection: asyncpg.Connection) -> AsyncIterator[Link]:
    """The chain in order."""
    position = 0
    while True:
        rows = await connection.fetch(LINKS, position, PAGE)
        for row in rows:
            position = row["position"]
            yield Link(position, Batch(*list(row)[3:]), row["previous"], row["head"])
        if len(rows) < PAGE:
            return


async def batches(
    connection: asyncpg.Connection, since: date | None = None, until: date | None = None
) -> AsyncIterator[Page]:
    """Batches of some days, in order of their number; one page of hashes in memory."""
    last = 0
    while True:
        rows = await connection.fetch(BATCHES, last, since, until, 20)
        for row in rows:
            last = row["id"]
            yield Page(SealedBatch(*list(row)[:7]), row["first_at"], row["last_at"])
        if len(rows) < 20:
            return


async def batch_rows(connection: asyncpg.Connection, page: Page) -> list[tuple[Leaf, list[Any]]]:
    """Rows of a batch as they are now, with their recomputed leaves."""
    batch = page.batch
    rows = await connection.fetch(
        ROWS[batch.kind], batch.id, batch.retention_class, page.first_us, page.last_us
    )
    found = []
    for row in rows:
        values = stored_values(batch.kind, list(row)[:-1])
        name = f"{NAMES[batch.kind]} {row['id']}"
        found.append((Leaf(row["leaf"], name, merkle.leaf_hash(leaf_bytes(values))), values))
    return found


async def verify_online(
    connection: asyncpg.Connection,
    keys: Mapping[str, bytes],
    *,
    since: date | None = None,
    until: date | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Recompute chain, roots and rows.

    Args:
        connection: prepared by ``link.prepare``; reads one consistent snapshot.
        keys: trusted public ledger keys by id; empty leaves checkpoints unchecked.
        since: first day whose rows are recomputed; the chain is always checked as a whole.
        until: last such day.
        progress: told the number of rows done.
    """
    report = Report()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        chain = [link async for link in links(connection)]
        heads = check_links(chain, GENESIS, report)
        in_chain = {link.batch.id for link in chain}
        if chain and chain[0].position != 1:
            report.findings.append(Finding("chain", "position 1", "the beginning is missing"))
        if keys:
            envelopes = [row[0] for row in await connection.fetch(CHECKPOINTS)]
            check_checkpoints(envelopes, heads, keys, report, whole=True)
        disposed = {tuple(row) for row in await connection.fetch(DISPOSED)}
        async for page in batches(connection, since, until):
            batch = page.batch
            report.pending += batch.id not in in_chain
            if batch.kind == "records" and (batch.retention_class, batch.day) in disposed:
                report.disposed += 1
                report.findings += check_batch(batch, (), ())
                continue
            rows = await batch_rows(connection, page)
            report.findings += check_batch(batch, (leaf for leaf, _ in rows))
            report.rows += len(rows)
            report.batches += 1
            if progress is not None:
                progress(report.rows)
        for row in await connection.fetch(STRANGERS, STRANGERS_SHOWN):
            detail = f"no batch covers it (it says batch {row['batch']} leaf {row['leaf']})"
            report.findings.append(Finding("added", f"record {row['id']}", detail))
    return report
