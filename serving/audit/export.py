"""Take evidence out of the database with what is needed to prove it, and check it anywhere.

Beside the rows stands a proof file: the batches they belong to with all leaf hashes, the stretch
of the chain from the first of these batches on, and the signed checkpoints. With a trusted public
key nothing else is needed to find a changed, missing, added or reordered row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from serving.audit import merkle
from serving.audit.chain import GENESIS, Batch
from serving.audit.formats import CHUNK_ROWS, TYPES, FormatError, Placed, Sink, read_rows
from serving.audit.online import CHECKPOINTS, NAMES
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

PROOF_SUFFIX = ".proof.json"
SEALED = """
SELECT id, kind, retention_class, day, leaves, root, leaf_hashes FROM audit_batches
 WHERE id = ANY($1) ORDER BY id
"""
STRETCH = """
SELECT c.position, c.previous, c.head, b.id, b.kind, b.retention_class, b.day, b.leaves, b.root
  FROM audit_chain AS c JOIN audit_batches AS b ON b.id = c.batch
 WHERE c.position >= (SELECT min(position) FROM audit_chain WHERE batch = ANY($1))
 ORDER BY c.position
"""
SOURCES = {
    "records": ("audit_records AS e", "e.batch", "e.leaf", "e.received_at"),
    "explanations": ("audit_explanations AS e", "e.batch", "e.leaf", "e.received_at"),
    "events": (
        "audit_event_leaves AS l JOIN audit_events AS e ON e.id = l.event",
        "l.batch",
        "l.leaf",
        "e.at",
    ),
}
FILTERS = frozenset((
    "id", "endpoint", "release", "rule", "model", "version", "key_id", "request_id", "subject_ref",
    "decision", "status", "retention_class", "kind", "actor", "record_id", "package_digest",
))  # fmt: skip
"""Columns that a selection may name; each is compared for equality."""


class Selection(Struct, frozen=True):
    """Which rows.

    Attributes:
        kind: ``records``, ``events`` or ``explanations``.
        since: first time, inclusive.
        until: end, exclusive.
        equal: value by column, out of ``FILTERS``.
    """

    kind: Literal["records", "events", "explanations"] = "records"
    since: datetime | None = None
    until: datetime | None = None
    equal: dict[str, str | int] = {}


class Proof(Struct):
    """The proof file.

    Attributes:
        selection: what was exported.
        batches: batches that hold an exported row.
        expected: places exported of batches that are not exported as a whole.
        links: the chain from the first of them to its end.
        checkpoints: all signed checkpoints of that stretch.
    """

    selection: Selection
    batches: list[SealedBatch] = []
    expected: dict[str, list[int]] = {}
    links: list[Link] = []
    checkpoints: list[bytes] = []
    format: Literal["interlock/audit-proof/v1"] = "interlock/audit-proof/v1"


def query_of(selection: Selection) -> tuple[str, list[Any]]:
    """SQL and arguments of a selection; names come from constants, values are arguments.

    Raises:
        FormatError: a filter on a column that cannot be filtered.
    """
    source, batch, leaf, time = SOURCES[selection.kind]
    where = ["true"]
    arguments: list[Any] = []
    for name, value in selection.equal.items():
        if name not in FILTERS or name not in COLUMNS[selection.kind]:
            raise FormatError(f"{selection.kind} cannot be selected by {name!r}")
        kind = TYPES.get(name, "text")
        arguments.append(int(value) if kind == "int" else str(value))
        cast = {"int": "bigint", "uuid": "text::uuid"}.get(kind, "text")
        where.append(f"e.{name} = ${len(arguments)}::{cast}")
    for bound, sign in ((selection.since, ">="), (selection.until, "<")):
        if bound is not None:
            arguments.append(bound.isoformat())
            where.append(f"{time} {sign} ${len(arguments)}::text::timestamptz")
    columns = ", ".join("e." + name for name in COLUMNS[selection.kind])
    return (
        f"SELECT {columns}, {batch} AS batch, {leaf} AS leaf FROM {source}"  # noqa: S608 - see above
        f" WHERE {' AND '.join(where)} ORDER BY {batch}, {leaf}"
    ), arguments


async def export(
    connection: asyncpg.Connection,
    selection: Selection,
    sink: Sink,
    progress: Callable[[int], None] | None = None,
) -> Proof:
    """Write the selected rows to a sink, in the order of the chain; returns their proof.

    Args:
        connection: prepared by ``link.prepare``.
        selection: which rows.
        sink: gets the rows; it is closed at the end.
        progress: told the number of rows done.

    Cost: one server-side cursor; memory for one chunk and the batches' hashes.
    """
    proof = Proof(selection)
    places: dict[int, list[int]] = {}
    query, arguments = query_of(selection)
    done = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        chunk: list[Placed] = []
        async for row in connection.cursor(query, *arguments, prefetch=CHUNK_ROWS):
            values = stored_values(selection.kind, list(row)[:-2])
            chunk.append((values, row["batch"], row["leaf"]))
            places.setdefault(row["batch"], []).append(row["leaf"])
            if len(chunk) == CHUNK_ROWS:
                sink.write(chunk)
                done += len(chunk)
                chunk = []
                if progress is not None:
                    progress(done)
        if chunk:
            sink.write(chunk)
        sink.close()
        numbers = list(places)
        for row in await connection.fetch(SEALED, numbers):
            batch = SealedBatch(*row)
            proof.batches.append(batch)
            if len(places[batch.id]) != batch.leaves:
                proof.expected[str(batch.id)] = places[batch.id]
        for row in await connection.fetch(STRETCH, numbers):
            proof.links.append(
                Link(row["position"], Batch(*list(row)[3:]), row["previous"], row["head"])
            )
        proof.checkpoints = [row[0] for row in await connection.fetch(CHECKPOINTS)]
    if progress is not None:
        progress(done + len(chunk))
    return proof


def write_proof(proof: Proof, export_path: Path) -> Path:
    """Write the proof file of an export; returns its path."""
    path = export_path.with_name(export_path.name + PROOF_SUFFIX)
    path.write_bytes(msgspec.json.encode(proof))
    return path


def read_proof(export_path: Path) -> Proof:
    """The proof of an export.

    Raises:
        FormatError: there is none, or it is no proof.
    """
    path = export_path.with_name(export_path.name + PROOF_SUFFIX)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Proof)
    except FileNotFoundError:
        raise FormatError(
            "the export has no proof beside it", at=str(path), hint="export again with --out"
        ) from None
    except msgspec.MsgspecError as error:
        raise FormatError(f"not a proof file: {error}", at=str(path)) from error


def verify_export(
    export_path: Path,
    keys: Mapping[str, bytes],
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check an export against its proof, row by row, in bounded memory.

    Args:
        export_path: NDJSON, CSV or Parquet, by suffix.
        keys: trusted public ledger keys by id; empty leaves the checkpoints unchecked.
        progress: told the number of rows done.

    Raises:
        FormatError: one of the two files cannot be read.
    """
    proof = read_proof(export_path)
    report = Report()
    if proof.links:
        first = GENESIS if proof.links[0].position == 1 else proof.links[0].previous
        heads = check_links(proof.links, first, report)
        if keys:
            check_checkpoints(proof.checkpoints, heads, keys, report, whole=False)
    chained = {link.batch.id: link.batch for link in proof.links}
    for batch in proof.batches:
        link = chained.get(batch.id)
        if link is None:
            report.pending += 1
        elif link != batch.header():
            report.findings.append(
                Finding("batch", f"batch {batch.id}", "it is not the batch in the chain")
            )
    _check_rows(export_path, proof, report, progress)
    return report


def _check_rows(
    path: Path, proof: Proof, report: Report, progress: Callable[[int], None] | None
) -> None:
    kind = proof.selection.kind
    known = {batch.id: batch for batch in proof.batches}
    left = dict(known)
    current: int | None = None
    rows: list[Leaf] = []

    def close() -> None:
        batch = left.pop(current, None) if current is not None else None
        if batch is not None:
            report.findings += check_batch(batch, rows, proof.expected.get(str(batch.id)))
            report.batches += 1

    for values, number, place in read_rows(kind, path):
        name = f"{NAMES[kind]} {UUID(bytes=values[0])}"
        report.rows += 1
        if progress is not None and report.rows % CHUNK_ROWS == 0:
            progress(report.rows)
        if number != current:
            close()
            current, rows = number, []
        if number not in known:
            report.findings.append(Finding("added", name, f"no exported batch {number}"))
        elif number not in left:
            report.findings.append(
                Finding("reordered", name, f"it stands behind rows that follow batch {number}")
            )
        else:
            if rows and place < rows[-1].leaf:
                report.findings.append(
                    Finding("reordered", name, f"leaf {place} stands behind leaf {rows[-1].leaf}")
                )
            rows.append(Leaf(place, name, merkle.leaf_hash(leaf_bytes(values))))
    close()
    for batch in list(left.values()):
        current, rows = batch.id, []
        close()
