"""Schedules over HTTP."""

from __future__ import annotations

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from control_plane.db import sql
from control_plane.deps import Pool, User, require
from control_plane.paging import Cursor, Limit, Page, page_of, read_cursor
from control_plane.schedules import service
from control_plane.schedules.schemas import NewSchedule, Schedule

_SQL = sql.load("control_plane.schedules")


@get("/schedules", guards=[require("jobs.read")])
async def list_schedules(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[Schedule]:
    """Recurring jobs, by name."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    async with pool.connection() as connection:
        rows = await connection.fetch(_SQL["many"], after, limit + 1)
    return page_of(rows, limit, service.schedule_of, lambda r: (r["name"],))


@post("/schedules", guards=[require("jobs.write")])
async def create_schedule(pool: Pool, user: User, data: JSONBody[NewSchedule]) -> Schedule:
    """Queue a job again and again, in the name of whoever asks."""
    async with pool.transaction() as connection:
        return await service.add(connection, user, data)


@get("/schedules/{name:str}", guards=[require("jobs.read")])
async def read_schedule(pool: Pool, name: FromPath[str]) -> Schedule:
    """One schedule with its last run."""
    async with pool.connection() as connection:
        return await service.find(connection, name)


@post("/schedules/{name:str}/pause", guards=[require("jobs.write")], status_code=200)
async def pause_schedule(pool: Pool, user: User, name: FromPath[str]) -> Schedule:
    """Queue no more runs."""
    async with pool.transaction() as connection:
        return await service.pause(connection, user, name, paused=True)


@post("/schedules/{name:str}/resume", guards=[require("jobs.write")], status_code=200)
async def resume_schedule(pool: Pool, user: User, name: FromPath[str]) -> Schedule:
    """Queue runs again, from the next one that is due."""
    async with pool.transaction() as connection:
        return await service.pause(connection, user, name, paused=False)


@delete("/schedules/{name:str}", guards=[require("jobs.write")])
async def delete_schedule(pool: Pool, user: User, name: FromPath[str]) -> None:
    """Forget a schedule; its jobs stay."""
    async with pool.transaction() as connection:
        await service.drop(connection, user, name)


ROUTE_HANDLERS = [
    list_schedules,
    create_schedule,
    read_schedule,
    pause_schedule,
    resume_schedule,
    delete_schedule,
]
