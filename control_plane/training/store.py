"""Runs in PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.paging import TimeCursor
from control_plane.training.schemas import NewRun, Run, Trial

_SQL = sql.load("control_plane.training")


async def add_run(
    connection: Connection,
    run: UUID,
    job: UUID,
    asked: NewRun,
    *,
    snapshot: str,
    version: int,
    recipe: dict[str, Any] | None,
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


async def add_trial(connection: Connection, run: UUID, row: dict[str, Any]) -> None:
    """Keep one trial of a search.

    Args:
        connection: inside a transaction that owns the job.
        run: the run.
        row: columns of the table by name.
    """
    await connection.execute(
        _SQL["add_trial"], run, row["number"], row["recipe"], row["params"], row["ranges"],
        row["state"], row["score"], row["metrics"], row["duration_ms"], row["libraries"],
        row["snapshot"], row["seed"], row["error"],
    )  # fmt: skip


async def past_trials(connection: Connection, run: UUID) -> list[dict[str, Any]]:
    """The trials so far, in order."""
    return [dict(row) for row in await connection.fetch(_SQL["past_trials"], run)]


async def trials(connection: Connection, run: UUID, skip: int, limit: int) -> list[Trial]:
    """Trials, best first."""
    rows = await connection.fetch(_SQL["leaderboard"], run, skip, limit)
    return [msgspec.convert(dict(row), Trial) for row in rows]


async def find_owner(connection: Connection, email: str) -> str | None:
    """Who answers for a service account; None for a person."""
    owner: str | None = await connection.fetchval(_SQL["find_owner"], email)
    return owner
