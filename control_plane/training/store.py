"""Runs in PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.paging import TimeCursor
from control_plane.training.schemas import NewRun, Run

_SQL = sql.load("control_plane.training")


async def add_run(
    connection: Connection,
    run: UUID,
    job: UUID,
    asked: NewRun,
    *,
    snapshot: str,
    version: int,
    recipe: dict[str, Any],
    search: dict[str, Any] | None,
    created_by: str,
) -> None:
    """Note a run beside its job."""
    await connection.execute(
        _SQL["add_run"], run, job, asked.dataset, snapshot, asked.model, version, recipe,
        asked.test_fraction, search, created_by,
    )  # fmt: skip


async def one_run(connection: Connection, run: UUID) -> Run | None:
    """A run with the state of its job."""
    row = await connection.fetchrow(_SQL["one_run"], run)
    return msgspec.convert(dict(row), Run) if row else None


async def many_runs(
    connection: Connection,
    *,
    model: str | None,
    dataset: str | None,
    after: TimeCursor | None,
    limit: int,
) -> list[Run]:
    """Runs, newest first."""
    at, key = (after.at, after.id) if after else (None, None)
    rows = await connection.fetch(_SQL["many_runs"], model, dataset, at, key, limit)
    return [msgspec.convert(dict(row), Run) for row in rows]


async def finish_run(
    connection: Connection,
    run: UUID,
    *,
    recipe: dict[str, Any],
    metrics: dict[str, Any],
    parity: dict[str, Any],
    package: str,
    lineage: dict[str, Any],
) -> None:
    """Write what a run left."""
    await connection.execute(_SQL["finish_run"], run, recipe, metrics, parity, package, lineage)
