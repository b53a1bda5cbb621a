"""Proof that one record is in the chain, small enough to hand to the person it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from compiler.errors import AppError
from serving.audit import merkle
from serving.audit.chain import Batch
from serving.audit.row import RECORD_COLUMNS, leaf_bytes, stored_values
from serving.audit.verify import Link, Report, SealedBatch, check_checkpoints, check_links

RECORD = f"""
SELECT {", ".join(RECORD_COLUMNS)}, batch, leaf FROM audit_records WHERE id = $1
"""  # noqa: S608 - column names are constants
BATCH = """
SELECT id, kind, retention_class, day, leaves, root, leaf_hashes FROM audit_batches WHERE id = $1
"""
STRETCH = """
SELECT c.position, c.previous, c.head, b.id, b.kind, b.retention_class, b.day, b.leaves, b.root
  FROM audit_chain AS c JOIN audit_batches AS b ON b.id = c.batch
 WHERE c.position BETWEEN (SELECT position FROM audit_chain WHERE batch = $1) AND $2
 ORDER BY c.position
"""
CHECKPOINT = """
SELECT position, envelope FROM audit_checkpoints
 WHERE position >= (SELECT position FROM audit_chain WHERE batch = $1) ORDER BY position LIMIT 1
"""
END = "SELECT coalesce(max(position), 0) FROM audit_chain"


class NoRecord(AppError):  # noqa: N818 - names what is missing
    """There is no such record."""

    code = "record.unknown"


class Inclusion(Struct, frozen=True):
    """An inclusion proof.

    Attributes:
        record: id of the record.
        leaf: its place in the batch.
        leaf_hash: hash of its canonical bytes.
        path: sibling hashes, leaf level first.
        batch: the batch; None of ``links`` names it while it is not chained yet.
        links: the chain from that batch to the next checkpoint, or to its end.
        checkpoint: signed head at the end of ``links``; None when none was signed yet.
    """

    record: str
    leaf: int
    leaf_hash: bytes
    path: list[bytes]
    batch: Batch
    links: list[Link]
    checkpoint: bytes | None = None
    format: Literal["interlock/audit-inclusion/v1"] = "interlock/audit-inclusion/v1"


async def prove(connection: asyncpg.Connection, record: UUID) -> Inclusion:
    """The proof of one record, computed from what the database holds now.

    Args:
        connection: prepared by ``link.prepare``.
        record: id of the record.

    Raises:
        NoRecord: not there, or not shipped yet.
    """
    row = await connection.fetchrow(RECORD, record)
    if row is None:
        raise NoRecord(f"there is no record {record}", at=str(record))
    values = stored_values("records", list(row)[:-2])
    found = await connection.fetchrow(BATCH, row["batch"])
    if found is None:
        raise NoRecord(f"no batch covers the record {record}", at=f"batch {row['batch']}")
    batch = SealedBatch(*found)
    signed = await connection.fetchrow(CHECKPOINT, batch.id)
    end = signed["position"] if signed else await connection.fetchval(END)
    stretch = await connection.fetch(STRETCH, batch.id, end)
    return Inclusion(
        record=str(record),
        leaf=row["leaf"],
        leaf_hash=merkle.leaf_hash(leaf_bytes(values)),
        path=merkle.proof(batch.hashes(), row["leaf"]),
        batch=batch.header(),
        links=[Link(r["position"], Batch(*list(r)[3:]), r["previous"], r["head"]) for r in stretch],
        checkpoint=signed["envelope"] if signed else None,
    )


def holds(proof: Inclusion, keys: Mapping[str, bytes]) -> Literal["signed", "chained", "broken"]:
    """How far a proof carries: to a trusted signature, to the chain only, or not at all."""
    batch = proof.batch
    root = merkle.root_from_proof(proof.leaf_hash, proof.leaf, batch.leaves, proof.path)
    if root != batch.root or not proof.links or proof.links[0].batch != batch:
        return "broken"
    report = Report()
    heads = check_links(proof.links, proof.links[0].previous, report)
    if proof.checkpoint is not None and keys:
        check_checkpoints([proof.checkpoint], heads, keys, report, whole=True)
    if report.findings:
        return "broken"
    return "signed" if report.signed else "chained"
