"""Decisions about data: what may be declared, how an upload becomes a registered snapshot."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from control_plane import adminlog
from control_plane.datasets import connections, store
from control_plane.datasets.errors import DataError, DeclarationError
from control_plane.datasets.files import SnapshotFiles
from control_plane.datasets.ingest import ingest
from control_plane.datasets.schemas import Dataset, Declaration, Snapshot, SnapshotAnswer
from control_plane.db.pool import Connection, Pool
from control_plane.errors import ConflictError, NotFoundError, TooLargeError
from control_plane.jobs import service as jobs

INLINE_BYTES = 8 << 20
"""Larger uploads are ingested by the job worker, with progress."""
MAX_UPLOAD_BYTES = 4 << 30
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")


async def declare(connection: Connection, declaration: Declaration, user: str) -> Dataset:
    """Register a dataset inside a transaction.

    Raises:
        DeclarationError: it contradicts itself.
        ConflictError: the name is taken.
    """
    check_declaration(declaration)
    if not await store.add_dataset(connection, declaration, user):
        raise ConflictError(
            f"there is a dataset {declaration.name!r} already", code="dataset.exists", at="name"
        )
    await adminlog.note(connection, user, "dataset.declare", declaration.name)
    return await find(connection, declaration.name)


def check_declaration(declaration: Declaration) -> None:
    """Stop at a declaration that contradicts itself.

    Raises:
        DeclarationError: says where.
    """
    if not _NAME.match(declaration.name):
        raise DeclarationError(
            f"expected a name of lower-case letters, digits, _ and -, got "
            f"{declaration.name[:80]!r}",
            code="name.invalid",
            at="name",
        )
    if (declaration.task == "clustering") != (declaration.target is None):
        wanted = "no target" if declaration.task == "clustering" else "a target"
        raise DeclarationError(
            f"expected {wanted} for {declaration.task}", code="dataset.target", at="target"
        )
    for field in ("source", "licence"):
        if not getattr(declaration, field).strip():
            raise DeclarationError(
                f"expected a {field}: evidence starts with where data comes from",
                code=f"dataset.{field}",
                at=field,
            )
    target = declaration.target
    if target is not None and target in {*declaration.protected, *declaration.ignore}:
        raise DeclarationError(
            "the target can be neither protected nor ignored", code="dataset.target", at="target"
        )


async def find(connection: Connection, name: str) -> Dataset:
    """A dataset by its name.

    Raises:
        NotFoundError: there is none.
    """
    found = await store.one_dataset(connection, name)
    if found is None:
        raise NotFoundError(f"there is no dataset {name[:80]!r}", code="dataset.unknown")
    return found


async def find_snapshot(connection: Connection, dataset: str, which: str) -> Snapshot:
    """A snapshot by digest, number or ``latest``.

    Raises:
        NotFoundError: there is none.
    """
    await find(connection, dataset)
    found = await store.find_snapshot(connection, dataset, which)
    if found is None:
        raise NotFoundError(
            f"dataset {dataset!r} has no snapshot {which[:80]!r}",
            code="snapshot.unknown",
            hint=f"upload one: POST /api/datasets/{dataset}/snapshots",
        )
    return found


async def receive(chunks: AsyncIterator[bytes], folder: Path, kind: str) -> tuple[Path, int, str]:
    """Write an upload to a file, chunk by chunk.

    Returns:
        The file, its size and the SHA-256 of its bytes.

    Raises:
        TooLargeError: beyond the limit.
        DataError: no bytes.
    """
    path, size, digest = folder / f"upload.{kind}", 0, hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                raise TooLargeError(f"expected at most {MAX_UPLOAD_BYTES} bytes")
            digest.update(chunk)
            if len(chunk) > 1 << 16:
                await asyncio.to_thread(file.write, chunk)
            else:
                file.write(chunk)
    if not size:
        raise DataError("expected a table, got an empty body", code="data.empty")
    return path, size, digest.hexdigest()


async def upload(
    pool: Pool, files: SnapshotFiles, *, dataset: str, kind: str, chunks: AsyncIterator[bytes],
    user: str,
) -> SnapshotAnswer | dict[str, str]:  # fmt: skip
    """Take an upload: small ones become a snapshot at once, large ones a job.

    Returns:
        The snapshot, or ``{"job": id}``.

    Raises:
        NotFoundError: no such dataset.
        DataError: the body is no table that can be used.
        DeclarationError: the table does not fit the declaration.
    """
    async with pool.connection() as connection:
        found = await find(connection, dataset)
    with files.incoming() as folder:
        path, size, sha256 = await receive(chunks, folder, kind)
        origin = {"kind": "upload", "format": kind, "bytes": size, "sha256": sha256}
        if size > INLINE_BYTES:
            word = files.keep_upload(folder)
            payload = {"dataset": dataset, "upload": word, "format": kind, "origin": origin}
            async with pool.transaction() as connection:
                job, _ = await jobs.enqueue(connection, "ingest", payload, created_by=user)
            return {"job": str(job)}
        done = folder / "snapshot"
        done.mkdir()
        declaration = msgspec.convert(found, Declaration, from_attributes=True)
        ingested = await asyncio.to_thread(ingest, path, kind, declaration, done)
        await asyncio.to_thread(files.publish, done, ingested.digest)
        async with pool.transaction() as connection:
            return await register(connection, ingested, origin, user)


async def register(
    connection: Connection, ingested: Any, origin: dict[str, Any], user: str
) -> SnapshotAnswer:
    """Register a published snapshot inside a transaction."""
    snapshot, new = await store.add_snapshot(connection, ingested, origin, user)
    await adminlog.note(
        connection, user, "snapshot.add", f"{snapshot.dataset}/{snapshot.number}",
        digest=snapshot.digest, new=new,
    )  # fmt: skip
    return SnapshotAnswer(
        snapshot.digest,
        snapshot.dataset,
        snapshot.number,
        snapshot.rows,
        snapshot.features,
        snapshot.output,
        snapshot.findings,
        new,
    )


async def start_import(
    connection: Connection, dataset: str, asked: connections.NewImport, user: str
) -> UUID:
    """Queue an import inside a transaction.

    Raises:
        NotFoundError: no such dataset or connection.
        DataError: no query, or a time limit out of bounds.
    """
    await find(connection, dataset)
    await connections.find(connection, asked.connection)
    if not asked.query.strip():
        raise DataError("expected a query", code="source.query", at="query")
    if not 1.0 <= asked.timeout_s <= 86_400.0:
        raise DataError(
            f"expected a timeout from 1 to 86400 s, got {asked.timeout_s}",
            code="source.timeout",
            at="timeout_s",
        )
    payload = {"dataset": dataset, **msgspec.to_builtins(asked)}
    job, _ = await jobs.enqueue(connection, "import", payload, created_by=user)
    await adminlog.note(
        connection, user, "dataset.import", dataset, connection_name=asked.connection
    )
    return job
