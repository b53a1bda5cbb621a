"""Days that are older than their class is kept: archived, proved, then dropped with a signed note.

The order is the safety: the archive is written and forced to the disk, read back and verified
against its proof, and only then does the database function detach and drop the day, after counting
its rows once more. A legal hold, a class without a policy or a missing ledger key stops it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from compiler.errors import AppError
from compiler.signing import KeyPair, sign
from serving.audit.chain import DISPOSAL_TYPE
from serving.audit.export import Selection, export, verify_export, write_proof
from serving.audit.formats import ParquetSink, time_text

DUE = "SELECT partition, retention_class, day FROM audit_disposable()"
DISPOSE = "SELECT dispose_audit_partition($1, $2, $3, $4, $5)"
NOTE = """
INSERT INTO audit_events (kind, actor, body, retention_class)
VALUES ('partition.disposed', 'shipper', $1, $2)
"""
READ_BYTES = 1 << 20


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
        archive: where they are now, below the artifact store.
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


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


async def dispose_due(
    connection: asyncpg.Connection, store: Path, key: KeyPair, clock: Callable[[], int]
) -> list[Disposal]:
    """Archive and drop every day that its policy lets go.

    Args:
        connection: prepared by ``link.prepare``, as the shipper.
        store: local artifact store; archives go to ``audit/CLASS/DAY.parquet`` below it.
        key: ledger key; signs each disposal, and its checkpoints must verify the archive.
        clock: wall clock in ns.

    Raises:
        ArchiveError: an archive did not verify; that day and the rest stay.
    """
    done = []
    for row in await connection.fetch(DUE):
        partition, retention_class, day = row
        path, rows = await _archive(connection, store, retention_class, day, key)
        disposal = Disposal(
            partition, retention_class, day, rows, str(path.relative_to(store)),
            file_digest(path), time_text(clock() // 1000),
        )  # fmt: skip
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
    connection: asyncpg.Connection, store: Path, retention_class: str, day: date, key: KeyPair
) -> tuple[Path, int]:
    """Write the archive of a day, prove it; returns its path and number of rows."""
    folder = store / "audit" / hashlib.sha256(retention_class.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{day.isoformat()}.parquet"
    start = datetime.combine(day, time(), UTC)
    selection = Selection(
        since=start, until=start + timedelta(days=1), equal={"retention_class": retention_class}
    )
    with path.open("wb") as file:
        proof = await export(connection, selection, ParquetSink("records", file))
        file.flush()
        os.fsync(file.fileno())
    write_proof(proof, path)
    report = verify_export(path, {key.id: key.public})
    trouble = [f"{each.what} {each.at}" for each in report.findings]
    if report.pending:
        trouble.append(f"{report.pending} batches are not chained yet")
    if proof.links and proof.links[-1].position > report.signed and not report.signed:
        trouble.append("no checkpoint covers it")
    if trouble:
        raise ArchiveError("; ".join(trouble[:5]), at=str(path))
    return path, report.rows
