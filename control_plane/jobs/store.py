"""Jobs in PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from compiler.errors import Problem
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.jobs.schemas import Attempt, Claim, Job, LogLine, Note
from control_plane.paging import TimeCursor

_SQL = sql.load("control_plane.jobs")


async def enqueue(
    connection: Connection,
    kind: str,
    payload: dict[str, Any],
    *,
    created_by: str,
    priority: int = 0,
    max_attempts: int = 3,
    idempotency_key: str | None = None,
) -> UUID | None:
    """Put a job into the queue; None when this idempotency key has been used before."""
    found: UUID | None = await connection.fetchval(
        _SQL["enqueue"], kind, payload, priority, max_attempts, idempotency_key, created_by
    )
    return found


async def by_key(
    connection: Connection, kind: str, created_by: str, key: str
) -> tuple[UUID, dict[str, Any]] | None:
    """The job made earlier with an idempotency key, and its payload."""
    row = await connection.fetchrow(_SQL["by_idempotency_key"], created_by, kind, key)
    return (row["id"], row["payload"]) if row else None


async def claim(connection: Connection, worker: str, lease_s: float) -> Claim | None:
    """Take the most urgent job, if there is one."""
    row = await connection.fetchrow(_SQL["claim"], worker, lease_s)
    if row is None:
        return None
    return Claim(
        row["id"],
        row["kind"],
        row["payload"],
        row["attempts"],
        row["max_attempts"],
        row["created_by"],
        worker,
    )


async def beat(
    connection: Connection,
    claim: Claim,
    lease_s: float,
    *,
    fraction: float | None = None,
    step: str | None = None,
    live: dict[str, Any] | None = None,
) -> bool | None:
    """Renew the lease; True when a cancel was asked for, None when the job is no longer ours."""
    answer: bool | None = await connection.fetchval(
        _SQL["beat"], claim.id, claim.worker, claim.attempt, lease_s, fraction, step, live
    )
    return answer


async def write_log(connection: Connection, claim: Claim, notes: list[Note]) -> None:
    """Append lines to a job's log."""
    await connection.execute(
        _SQL["log"],
        claim.id,
        claim.attempt,
        [note.level for note in notes],
        [note.line for note in notes],
    )


async def own(connection: Connection, claim: Claim) -> bool:
    """Lock the job inside a transaction; False when this attempt no longer owns it."""
    row = await connection.fetchval(_SQL["own"], claim.id, claim.worker, claim.attempt)
    return row is not None


async def succeed(connection: Connection, claim: Claim, result: dict[str, Any]) -> bool:
    """End a job well; False when it is no longer ours."""
    done = await connection.fetchval(_SQL["succeed"], claim.id, claim.worker, claim.attempt, result)
    return await _ended(connection, claim, done, "succeeded", None)


async def fail(connection: Connection, claim: Claim, problem: Problem) -> bool:
    """End a job badly; False when it is no longer ours."""
    done = await connection.fetchval(
        _SQL["fail"], claim.id, claim.worker, claim.attempt, msgspec.to_builtins(problem)
    )
    return await _ended(connection, claim, done, "failed", str(problem))


async def requeue(
    connection: Connection, claim: Claim, reason: str, *, delay_s: float, counts: bool
) -> bool:
    """Give a job back; ``counts`` says whether this attempt is one of the allowed ones."""
    done = await connection.fetchval(
        _SQL["requeue"], claim.id, claim.worker, claim.attempt, delay_s, counts
    )
    outcome = "retried" if counts else "released"
    return await _ended(connection, claim, done, outcome, reason)


async def cancel_running(connection: Connection, claim: Claim) -> bool:
    """End a running job that somebody asked to cancel."""
    done = await connection.fetchval(_SQL["cancel_running"], claim.id, claim.worker, claim.attempt)
    return await _ended(connection, claim, done, "cancelled", "cancelled on request")


async def _ended(
    connection: Connection, claim: Claim, done: UUID | None, outcome: str, reason: str | None
) -> bool:
    if done is None:
        return False
    await connection.execute(_SQL["end_attempt"], claim.id, claim.attempt, outcome, reason)
    return True


async def lost(connection: Connection) -> list[tuple[Claim, bool]]:
    """Running jobs whose lease ended, locked, with whether a cancel was asked for."""
    rows = await connection.fetch(_SQL["lost"])
    return [
        (
            Claim(row["id"], "", {}, row["attempts"], row["max_attempts"], "", row["worker"]),
            row["cancel_requested"],
        )
        for row in rows
    ]


async def cancel(connection: Connection, job: UUID) -> bool:
    """Cancel a queued job, or ask a running one to end; False when it has ended already."""
    return await connection.fetchval(_SQL["cancel"], job) is not None


async def retry(connection: Connection, job: UUID, created_by: str) -> UUID | None:
    """Queue the work of an ended job again; None when it has not failed or been cancelled."""
    found: UUID | None = await connection.fetchval(_SQL["retry"], job, created_by)
    return found


async def one(connection: Connection, job: UUID) -> Job | None:
    """A job by its id."""
    row = await connection.fetchrow(_SQL["one"], job)
    return msgspec.convert(dict(row), Job) if row else None


async def many(
    connection: Connection,
    *,
    state: str | None,
    kind: str | None,
    after: TimeCursor | None,
    limit: int,
) -> list[Job]:
    """Jobs, newest first."""
    at, key = (after.at, after.id) if after else (None, None)
    rows = await connection.fetch(_SQL["many"], state, kind, at, key, limit)
    return [msgspec.convert(dict(row), Job) for row in rows]


async def attempts(connection: Connection, job: UUID) -> list[Attempt]:
    """The tries of a job, first to last."""
    rows = await connection.fetch(_SQL["attempts"], job)
    return [msgspec.convert(dict(row), Attempt) for row in rows]


async def log_lines(connection: Connection, job: UUID, after: int, limit: int) -> list[LogLine]:
    """Log lines after a sequence number, in order."""
    rows = await connection.fetch(_SQL["log_lines"], job, after, limit)
    return [msgspec.convert(dict(row), LogLine) for row in rows]
