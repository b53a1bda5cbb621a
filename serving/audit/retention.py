"""Days that are older than their class is kept: archived, proved, then dropped with a signed note.

The order is the safety: the archive is put into the artifact store, read back and verified
against its proof, and only then does the database function detach and drop the day, after counting
its rows once more. A legal hold, a class without a policy or a missing ledger key stops it.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from compiler.errors import AppError
from compiler.signing import KeyPair, sign
from serving.audit.chain import DISPOSAL_TYPE
from serving.audit.export import PROOF_SUFFIX, Selection, export, verify_export, write_proof
from serving.audit.formats import ParquetSink, time_text
from serving.blobs import BlobStore
from serving.files import file_digest

DUE = "SELECT partition, retention_class, day FROM audit_disposable()"
RECORDED = """
SELECT coalesce(sum(leaves), 0)::bigint FROM audit_batches
 WHERE kind = 'records' AND retention_class = $1 AND day = $2
"""
DISPOSE = "SELECT dispose_audit_partition($1, $2, $3, $4, $5)"
NOTE = """
INSERT INTO audit_events (kind, actor, body, retention_class)
VALUES ('partition.disposed', 'shipper', $1, $2)
"""


class ArchiveError(AppError):
    """The archive of a day is not what the day holds; nothing was dropped."""

    code = "audit.archive"


class Disposal(Struct, frozen=True):
    """What is signed about a day that is gone.

    Attributes:
        partition: table that was dropped.
        retention_class: its class.
        day: its day (UTC).
        rows: rows it held.
        archive: name of the file in the artifact store that holds them now; empty without rows.
        archive_digest: ``sha256:<hex>`` of that file.
        disposed_at: RFC 3339 time.
    """

    partition: str
    retention_class: str
    day: date
    rows: int
    archive: str
    archive_digest: str
    disposed_at: str


async def dispose_due(
    connection: asyncpg.Connection, store: BlobStore, key: KeyPair, clock: Callable[[], int]
) -> list[Disposal]:
    """Archive and drop every day that its policy lets go.

    Args:
        connection: prepared by ``link.prepare``, as the shipper.
        store: takes the archives, as ``audit/CLASS/DAY.DIGEST.parquet`` with their proofs.
        key: ledger key; signs each disposal, and its checkpoints must verify the archive.
        clock: wall clock in ns.

    Raises:
        ArchiveError: an archive did not verify; that day and the rest stay.
        StoreError: the store did not take an archive; likewise.
    """
    done = []
    for row in await connection.fetch(DUE):
        partition, retention_class, day = row
        name, digest, rows = "", "", 0
        recorded = await connection.fetchval(RECORDED, retention_class, day)
        if recorded:  # an empty day needs no archive
            with tempfile.TemporaryDirectory(prefix="il-archive-") as folder:
                name, digest, rows = await _archive(
                    connection, store, Path(folder), (retention_class, day), key
                )
        if rows != recorded:
            raise ArchiveError(f"expected the {recorded} recorded rows, got {rows}", at=partition)
        disposal = Disposal(
            partition, retention_class, day, rows, name, digest, time_text(clock() // 1000)
        )
        statement = msgspec.json.encode(disposal)
        async with connection.transaction():
            await connection.execute(
                DISPOSE, partition, rows, disposal.archive, disposal.archive_digest,
                sign(DISPOSAL_TYPE, statement, key),
            )  # fmt: skip
            await connection.execute(NOTE, statement.decode(), retention_class)
        done.append(disposal)
    return done


async def _archive(
    connection: asyncpg.Connection,
    store: BlobStore,
    folder: Path,
    place: tuple[str, date],
    key: KeyPair,
) -> tuple[str, str, int]:
    """Put the archive of a class's day into the store and prove what came back from there.

    Returns:
        Its name in the store, its digest and its rows.
    """
    retention_class, day = place
    draft = folder / "day.parquet"
    start = datetime.combine(day, time(), UTC)
    selection = Selection(
        since=start, until=start + timedelta(days=1), equal={"retention_class": retention_class}
    )
    with draft.open("wb") as file:
        proof = await export(connection, selection, ParquetSink("records", file))
    proof_draft = write_proof(proof, draft)
    digest = await asyncio.to_thread(file_digest, draft)
    label = hashlib.sha256(retention_class.encode()).hexdigest()[:12]
    name = f"audit/{label}/{day.isoformat()}.{digest.removeprefix('sha256:')[:16]}.parquet"
    await asyncio.to_thread(store.put, name, draft)
    await asyncio.to_thread(store.put, name + PROOF_SUFFIX, proof_draft)
    # What counts is what the store gives back, not what was sent there.
    kept = await asyncio.to_thread(store.fetch, name, folder / "kept")
    await asyncio.to_thread(store.fetch, name + PROOF_SUFFIX, folder / "kept")
    if await asyncio.to_thread(file_digest, kept) != digest:
        raise ArchiveError("the store gave other bytes back", at=name)
    report = await asyncio.to_thread(verify_export, kept, {key.id: key.public})
    trouble = [f"{each.what} {each.at}" for each in report.findings]
    if report.pending:
        trouble.append(f"{report.pending} batches are not chained yet")
    if proof.links and proof.links[-1].position > report.signed and not report.signed:
        trouble.append("no checkpoint covers it")
    if trouble:
        raise ArchiveError("; ".join(trouble[:5]), at=name)
    return name, digest, report.rows
