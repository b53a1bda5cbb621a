"""Training runs over HTTP: start, watch, compare, cancel."""

from __future__ import annotations

from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.deps import Pool, User, require
from control_plane.jobs import service as jobs
from control_plane.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from control_plane.training import service
from control_plane.training.schemas import NewRun, Run, RunStarted, Trial


@post("/runs", guards=[require("runs.write")], status_code=202)
async def start_run(pool: Pool, user: User, data: JSONBody[NewRun]) -> RunStarted:
    """Reserve a version of a model and queue its training."""
    async with pool.transaction() as connection:
        return await service.start(connection, user, data)


@get("/runs", guards=[require("runs.read")])
async def list_runs(
    pool: Pool,
    model: FromQuery[str | None] = None,
    dataset: FromQuery[str | None] = None,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Run]:
    """Runs, newest first."""
    async with pool.connection() as connection:
        return await service.listing(
            connection, model=model, dataset=dataset, cursor=cursor, limit=limit
        )


@get("/runs/{run:uuid}", guards=[require("runs.read")])
async def read_run(pool: Pool, run: FromPath[UUID]) -> Run:
    """A run: how far it is, and what it left."""
    async with pool.connection() as connection:
        return await service.find(connection, run)


@get("/runs/{run:uuid}/trials", guards=[require("runs.read")])
async def list_trials(
    pool: Pool, run: FromPath[UUID], cursor: Cursor = "", limit: Limit = DEFAULT_LIMIT
) -> Page[Trial]:
    """The leaderboard of a search: every recipe it tried, best first, the lost ones included."""
    async with pool.connection() as connection:
        return await service.leaderboard(connection, run, cursor, limit)


@post("/runs/{run:uuid}/cancel", guards=[require("runs.write")], status_code=200)
async def cancel_run(pool: Pool, run: FromPath[UUID]) -> Run:
    """Stop a run; its version number is not used again."""
    async with pool.transaction() as connection:
        found = await service.find(connection, run)
        await jobs.cancel(connection, found.job)
        return await service.find(connection, run)


ROUTE_HANDLERS = [start_run, list_runs, read_run, list_trials, cancel_run]
