"""Datasets and snapshots in PostgreSQL."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.datasets.schemas import Dataset, Declaration, Ingested, Snapshot
from control_plane.db import sql
from control_plane.db.pool import Connection

_SQL = sql.load("control_plane.datasets")


async def add_dataset(connection: Connection, declaration: Declaration, created_by: str) -> bool:
    """Register a dataset; False when the name is taken."""
    d = declaration
    made = await connection.fetchval(
        _SQL["add_dataset"], d.name, d.task, d.target, d.positive, d.favourable,
        d.protected, d.sensitive,
        d.ignore, d.missing, d.source, d.licence, created_by,
    )  # fmt: skip
    return made is not None


async def one_dataset(connection: Connection, name: str) -> Dataset | None:
    """A dataset by its name."""
    row = await connection.fetchrow(_SQL["one_dataset"], name)
    return msgspec.convert(dict(row), Dataset) if row else None


async def many_datasets(connection: Connection, after: str, limit: int) -> list[Any]:
    """Rows of datasets by name, after a name."""
    rows: list[Any] = await connection.fetch(_SQL["many_datasets"], after, limit)
    return rows


async def find_snapshot(connection: Connection, dataset: str, which: str) -> Snapshot | None:
    """A snapshot by its digest, its number, or ``latest``."""
    if which == "latest":
        row = await connection.fetchrow(_SQL["newest_snapshot"], dataset)
    elif which.isdecimal() and len(which) < 10:
        row = await connection.fetchrow(_SQL["snapshot_by_number"], dataset, int(which))
    else:
        row = await connection.fetchrow(_SQL["snapshot_by_digest"], dataset, which)
    return msgspec.convert(dict(row), Snapshot) if row else None


async def many_snapshots(connection: Connection, dataset: str, below: int, limit: int) -> list[Any]:
    """Rows of a dataset's snapshots, newest first."""
    rows: list[Any] = await connection.fetch(_SQL["many_snapshots"], dataset, below, limit)
    return rows


async def add_snapshot(
    connection: Connection, done: Ingested, origin: dict[str, Any], created_by: str
) -> tuple[Snapshot, bool]:
    """Register an ingest inside a transaction; the same content again gives the first row.

    Returns:
        The snapshot and whether it is new.
    """
    dataset = done.manifest.dataset
    await connection.execute(_SQL["lock_dataset"], dataset)
    known = await find_snapshot(connection, dataset, done.digest)
    if known is not None:
        return known, False
    await connection.execute(
        _SQL["add_snapshot"],
        dataset,
        done.digest,
        done.manifest.rows,
        msgspec.to_builtins(done.manifest.features),
        msgspec.to_builtins(done.manifest.output),
        msgspec.to_builtins(done.profile),
        msgspec.to_builtins(done.findings),
        origin,
        created_by,
    )
    made = await find_snapshot(connection, dataset, done.digest)
    assert made is not None
    return made, True
