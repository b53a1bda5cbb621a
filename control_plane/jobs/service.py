"""Decisions about jobs: who may queue the same work twice, what can be cancelled or retried."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.user import User
from control_plane.jobs import store
from control_plane.jobs.schemas import Job, JobDetail, JobState, LogLine
from control_plane.paging import Page, TimeCursor, check_limit, decode_cursor, encode_cursor

LOG_TAIL = 200
"""Log lines shown with a job; the rest is read with the log call."""


async def enqueue(
    connection: Connection,
    kind: str,
    payload: dict[str, Any],
    *,
    created_by: str,
    priority: int = 0,
    max_attempts: int = 3,
    idempotency_key: str | None = None,
) -> tuple[UUID, bool]:
    """Queue work inside the caller's transaction.

    Returns:
        The job and whether it is new; a repeated idempotency key gives the first job.

    Raises:
        ConflictError: the key was used for other work.
    """
    job = await store.enqueue(
        connection,
        kind,
        payload,
        created_by=created_by,
        priority=priority,
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
    )
    if job is not None:
        return job, True
    assert idempotency_key is not None
    known = await store.by_key(connection, kind, created_by, idempotency_key)
    if known is None or known[1] != payload:
        raise ConflictError(
            "this Idempotency-Key was used for another request",
            code="idempotency.reused",
            hint="use a new key for new work",
        )
    return known[0], False


async def find(connection: Connection, job: UUID) -> Job:
    """A job by its id.

    Raises:
        NotFoundError: there is none.
    """
    found = await store.one(connection, job)
    if found is None:
        raise NotFoundError(f"there is no job {job}", code="job.unknown")
    return found


async def detail(connection: Connection, job: UUID) -> JobDetail:
    """A job with its tries and the first lines of its log.

    Raises:
        NotFoundError: there is none.
    """
    return JobDetail(
        await find(connection, job),
        await store.attempts(connection, job),
        await store.log_lines(connection, job, 0, LOG_TAIL),
    )


async def log(connection: Connection, job: UUID, after: int, limit: int) -> list[LogLine]:
    """What the work wrote after a sequence number.

    Raises:
        NotFoundError: there is no such job.
        InvalidError: the limit is out of bounds.
    """
    await find(connection, job)
    return await store.log_lines(connection, job, after, check_limit(limit))


async def listing(
    connection: Connection,
    *,
    state: str | None,
    kind: str | None,
    cursor: str | None,
    limit: int,
) -> Page[Job]:
    """A page of jobs, newest first.

    Raises:
        InvalidError: an unknown state, cursor or limit.
    """
    if state is not None and state not in get_args(JobState):
        raise InvalidError(
            f"expected one of {', '.join(get_args(JobState))}, got {state!r}",
            code="job.state",
            at="state",
        )
    jobs = await store.many(
        connection,
        state=state,
        kind=kind,
        after=decode_cursor(cursor),
        limit=check_limit(limit) + 1,
    )
    if len(jobs) <= limit:
        return Page(jobs)
    last = jobs[limit - 1]
    return Page(jobs[:limit], encode_cursor(TimeCursor(last.created_at, last.id)))


async def cancel(connection: Connection, job: UUID) -> Job:
    """Cancel a queued job at once, or ask a running one to stop.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: it has ended.
    """
    if not await store.cancel(connection, job):
        found = await find(connection, job)
        raise ConflictError(f"the job has ended as {found.state}", code="job.ended")
    return await find(connection, job)


async def retry(connection: Connection, user: User, job: UUID) -> Job:
    """Do the work of a failed or cancelled job again, as a new job.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: it has not failed and was not cancelled, or only its owner's call can
            start it again because other records point at it.
    """
    found = await find(connection, job)
    if "run" in found.payload:
        raise ConflictError(
            "a training run keeps the end of its job",
            code="job.run_ended",
            hint="start a new run: POST /api/runs",
        )
    again = await store.retry(connection, job, user.email)
    if again is None:
        raise ConflictError(f"the job is {found.state}", code="job.not_failed")
    return await find(connection, again)
