"""Jobs over HTTP: watch, follow, cancel, repeat."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from control_plane.deps import Pool, User, require
from control_plane.jobs import service
from control_plane.jobs.schemas import Job, JobDetail, LogLine
from control_plane.paging import DEFAULT_LIMIT, Cursor, Limit, Page, Whole


@get("/jobs", guards=[require("jobs.read")])
async def list_jobs(
    pool: Pool,
    job_state: Annotated[str | None, QueryParameter(name="state")] = None,
    kind: FromQuery[str | None] = None,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Job]:
    """Jobs, newest first."""
    async with pool.connection() as connection:
        return await service.listing(
            connection, state=job_state, kind=kind, cursor=cursor, limit=limit
        )


@get("/jobs/{job:uuid}", guards=[require("jobs.read")])
async def read_job(pool: Pool, job: FromPath[UUID]) -> JobDetail:
    """A job with its tries and the beginning of its log."""
    async with pool.connection() as connection:
        return await service.detail(connection, job)


@get("/jobs/{job:uuid}/log", guards=[require("jobs.read")])
async def read_log(
    pool: Pool, job: FromPath[UUID], after: Whole = 0, limit: Limit = DEFAULT_LIMIT
) -> list[LogLine]:
    """Log lines after a sequence number; ask again with the last one to follow a running job."""
    async with pool.connection() as connection:
        return await service.log(connection, job, after or 0, limit)


@post("/jobs/{job:uuid}/cancel", guards=[require("jobs.write")], status_code=200)
async def cancel_job(pool: Pool, job: FromPath[UUID]) -> Job:
    """Cancel a queued job, or ask a running one to stop."""
    async with pool.transaction() as connection:
        return await service.cancel(connection, job)


@post("/jobs/{job:uuid}/retry", guards=[require("jobs.write")])
async def retry_job(pool: Pool, user: User, job: FromPath[UUID]) -> Job:
    """Do the work of a failed or cancelled job again."""
    async with pool.transaction() as connection:
        return await service.retry(connection, user, job)


ROUTE_HANDLERS = [list_jobs, read_job, read_log, cancel_job, retry_job]
