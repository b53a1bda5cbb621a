"""Decisions about schedules: who may keep one, when a run is due, what happens when it cannot be.

A run is asked for in the name of whoever made the schedule, through the same function as his own
request, with what he may do at that moment: who is locked out has no running schedules.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from compiler.errors import AppError
from control_plane import adminlog
from control_plane.datasets import connections
from control_plane.datasets import service as datasets
from control_plane.db import sql
from control_plane.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from control_plane.identity.sessions import user_of
from control_plane.identity.user import User
from control_plane.schedules.schemas import NewSchedule, Schedule
from control_plane.validation import service as validation
from control_plane.validation.schemas import NewValidation

if TYPE_CHECKING:
    from control_plane.db.pool import Connection, Pool

_SQL = sql.load("control_plane.schedules")
_IDENTITY = sql.load("control_plane.identity")

NEEDED = {"import": "datasets.write", "validate": "runs.write"}
"""What the person of a schedule must be allowed to do himself."""
LOOK_S = 5.0
AT_ONCE = 20
_log = logging.getLogger(__name__)


async def add(connection: Connection, user: User, wanted: NewSchedule) -> Schedule:
    """Keep a schedule.

    Raises:
        ForbiddenError: the user may not do the work himself.
        InvalidError: the request is none of its kind.
        NotFoundError: what it is about does not exist.
        ConflictError: the name is taken.
    """
    user.demand(NEEDED[wanted.kind])
    await _check(connection, wanted.kind, wanted.target, wanted.request)
    start = wanted.start or datetime.now(UTC)
    if start.tzinfo is None:
        raise InvalidError(
            "expected a time with an offset", code="schedule.start", at="start",
            hint="write it as 2026-01-31T02:00:00Z",
        )  # fmt: skip
    made = await connection.fetchval(
        _SQL["add"], wanted.name, wanted.kind, wanted.target,
        msgspec.json.encode(wanted.request).decode(), wanted.every_s, start, user.email,
    )  # fmt: skip
    if made is None:
        raise ConflictError(
            f"there is a schedule {wanted.name!r} already", code="schedule.exists", at="name"
        )
    await adminlog.note(
        connection, user.email, "schedule.create", wanted.name,
        kind=wanted.kind, about=wanted.target, every_s=wanted.every_s,
    )  # fmt: skip
    return await find(connection, wanted.name)


async def find(connection: Connection, name: str) -> Schedule:
    """A schedule by its name.

    Raises:
        NotFoundError: there is none.
    """
    row = await connection.fetchrow(_SQL["one"], name)
    if row is None:
        raise NotFoundError(f"there is no schedule {name!r}", code="schedule.unknown")
    return schedule_of(row)


def schedule_of(row: Any) -> Schedule:
    """A row as it is shown."""
    return Schedule(**{**row, "request": msgspec.json.decode(row["request"])})


async def pause(connection: Connection, user: User, name: str, *, paused: bool) -> Schedule:
    """Stop queueing runs, or go on; runs missed meanwhile are not made up for.

    Raises:
        NotFoundError: there is no such schedule.
    """
    if await connection.fetchval(_SQL["pause"], name, paused) is None:
        raise NotFoundError(f"there is no schedule {name!r}", code="schedule.unknown")
    act = "schedule.pause" if paused else "schedule.resume"
    await adminlog.note(connection, user.email, act, name)
    return await find(connection, name)


async def drop(connection: Connection, user: User, name: str) -> None:
    """Forget a schedule; its jobs stay.

    Raises:
        NotFoundError: there is no such schedule.
    """
    if await connection.fetchval(_SQL["drop"], name) is None:
        raise NotFoundError(f"there is no schedule {name!r}", code="schedule.unknown")
    await adminlog.note(connection, user.email, "schedule.delete", name)


async def run(pool: Pool, *, look_s: float = LOOK_S) -> None:
    """Queue what is due, again and again; a database that is away is tried next time."""
    while True:
        try:
            await queue_due(pool, datetime.now(UTC))
        except AppError as error:
            _log.warning("schedules wait: %s", error.message)
        await asyncio.sleep(look_s)


async def queue_due(pool: Pool, now: datetime) -> int:
    """Queue a run of every schedule that is due; answers how many were looked at."""
    async with pool.transaction() as connection:
        rows = await connection.fetch(_SQL["due"], now, AT_ONCE)
        for row in rows:
            job, failure = None, None
            try:
                async with connection.transaction():  # what a failed run wrote is undone
                    job = await _start(connection, row)
            except AppError as error:
                failure = f"{error.code}: {error.message}"[:500]
                _log.warning("schedule %s: %s", row["name"], failure)
            await connection.execute(_SQL["ran"], row["name"], now, job, failure)
    return len(rows)


async def _start(connection: Connection, row: Any) -> UUID:
    """Queue one run, as the person who made the schedule."""
    found = await connection.fetchrow(_IDENTITY["find_user"], row["created_by"])
    if found is None or found["disabled_at"] is not None:
        raise ForbiddenError(
            f"{row['created_by']} is locked out", code="schedule.person", at=row["name"]
        )
    user = user_of({**found, "scope": None})
    user.demand(NEEDED[row["kind"]])
    asked = _asked(row["kind"], row["target"], msgspec.json.decode(row["request"]))
    if isinstance(asked, NewValidation):
        return (await validation.start(connection, user, asked)).job
    return await datasets.start_import(connection, row["target"], asked, user.email)


def _asked(
    kind: str, target: str, request: dict[str, Any]
) -> NewValidation | connections.NewImport:
    """The request of one run.

    Raises:
        InvalidError: it is none of its kind.
    """
    try:
        if kind == "import":
            return msgspec.convert(request, connections.NewImport)
        model, _, version = target.rpartition("@")
        if not model or not version.isdigit():
            raise InvalidError(
                f"expected MODEL@VERSION, got {target[:80]!r}", code="schedule.target", at="target"
            )
        whole = {**request, "model": model, "version": int(version)}
        return msgspec.convert(whole, NewValidation)
    except msgspec.ValidationError as error:
        raise InvalidError(
            f"expected the request of an {kind}: {error}", code="schedule.request", at="request"
        ) from None


async def _check(connection: Connection, kind: str, target: str, request: dict[str, Any]) -> None:
    asked = _asked(kind, target, request)
    if isinstance(asked, NewValidation):
        from control_plane.registry import service as registry

        await registry.find_version(connection, asked.model, asked.version)
        return
    await datasets.find(connection, target)
    await connections.find(connection, asked.connection)
