"""The one who gives batches their place in the chain.

Any shipper may do it; whoever holds the advisory lock does. Events of people and of other processes
are made into batches here too, so that they stand in the same chain as the decisions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import msgspec

from compiler.signing import KeyPair, sign
from serving.audit import merkle
from serving.audit.chain import CHECKPOINT_TYPE, GENESIS, Batch, Checkpoint, next_head
from serving.audit.link import day_of
from serving.audit.row import EVENT_COLUMNS, leaf_bytes, stored_values
from serving.audit.store import NEXT_BATCHES, NewBatch, write_batch

LOCK = 0x494C4348
"""Advisory lock of the chain."""
ROUND_BATCHES = 1000
ROUND_EVENTS = 5000

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
HEAD = "SELECT position, head FROM audit_chain ORDER BY position DESC LIMIT 1"
PENDING_BATCHES = """
SELECT b.id, b.kind, b.retention_class, b.day, b.leaves, b.root
  FROM audit_unchained AS u JOIN audit_batches AS b ON b.id = u.batch
 ORDER BY b.id LIMIT $1
"""
WRITE_CHAIN = "INSERT INTO audit_chain (position, batch, previous, head) VALUES ($1, $2, $3, $4)"
DONE_BATCHES = "DELETE FROM audit_unchained WHERE batch = ANY($1)"
PENDING_EVENTS = f"""
SELECT {", ".join("e." + column for column in EVENT_COLUMNS)}
  FROM audit_unleaved AS u JOIN audit_events AS e ON e.id = u.event
 ORDER BY e.at, e.id LIMIT $1
"""  # noqa: S608 - column names are constants
WRITE_LEAVES = """
INSERT INTO audit_event_leaves (event, batch, leaf)
SELECT event, $2, place - 1 FROM unnest($1::uuid[]) WITH ORDINALITY AS e (event, place)
"""
DONE_EVENTS = "DELETE FROM audit_unleaved WHERE event = ANY($1)"
LAST_CHECKPOINT = "SELECT max(position) FROM audit_checkpoints"
WRITE_CHECKPOINT = """
INSERT INTO audit_checkpoints (position, head, key_id, envelope, signed_at)
VALUES ($1, $2, $3, $4, $5)
"""


async def sequence(connection: asyncpg.Connection) -> int:
    """Chain what is unchained, as far as one round goes; returns the batches placed.

    Returns 0 also when another process holds the lock.
    """
    async with connection.transaction():
        if not await connection.fetchval(TRY_LOCK, LOCK):
            return 0
        await _batch_events(connection)
        head = await connection.fetchrow(HEAD)
        position, previous = (head["position"], head["head"]) if head else (0, GENESIS)
        pending = await connection.fetch(PENDING_BATCHES, ROUND_BATCHES)
        links = []
        for row in pending:
            position += 1
            following = next_head(previous, position, Batch(*row))
            links.append((position, row["id"], previous, following))
            previous = following
        if links:
            await connection.executemany(WRITE_CHAIN, links)
            await connection.execute(DONE_BATCHES, [row["id"] for row in pending])
        return len(links)


async def _batch_events(connection: asyncpg.Connection) -> None:
    """Make batches of the events that have none, one per class and day."""
    groups: dict[tuple[str, date], list[list[Any]]] = defaultdict(list)
    ids: dict[tuple[str, date], list[Any]] = defaultdict(list)
    for row in await connection.fetch(PENDING_EVENTS, ROUND_EVENTS):
        values = stored_values("events", row)
        key = (row["retention_class"], day_of(row["at"]))
        groups[key].append(values)
        ids[key].append(row["id"])
    if not groups:
        return
    numbers = [row[0] for row in await connection.fetch(NEXT_BATCHES, len(groups))]
    for number, (key, rows) in zip(numbers, groups.items(), strict=True):
        leaves = [merkle.leaf_hash(leaf_bytes(values)) for values in rows]
        times = [values[1] for values in rows]
        span = (min(times), max(times))
        await write_batch(connection, NewBatch(number, "events", *key, leaves, span))
        await connection.execute(WRITE_LEAVES, ids[key], number)
        await connection.execute(DONE_EVENTS, ids[key])


async def sign_checkpoint(
    connection: asyncpg.Connection, key: KeyPair, clock: Callable[[], int]
) -> int | None:
    """Sign the head of the chain if it moved since the last checkpoint; returns its position."""
    async with connection.transaction():
        if not await connection.fetchval(TRY_LOCK, LOCK):
            return None
        head = await connection.fetchrow(HEAD)
        signed = await connection.fetchval(LAST_CHECKPOINT)
        if head is None or signed == head["position"]:
            return None
        now_us = clock() // 1000
        at = datetime.fromtimestamp(now_us / 1e6, UTC).isoformat()
        statement = msgspec.json.encode(Checkpoint(head["position"], head["head"].hex(), at))
        envelope = sign(CHECKPOINT_TYPE, statement, key)
        await connection.execute(
            WRITE_CHECKPOINT, head["position"], head["head"], key.id, envelope, now_us
        )
        return int(head["position"])
