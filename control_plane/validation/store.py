"""Validations in PostgreSQL."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec

from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.paging import TimeCursor
from control_plane.validation.schemas import GateResult, Gates, ReportRow, Validation

_SQL = sql.load("control_plane.validation")


async def add(connection: Connection, validation: UUID, job: UUID, facts: dict[str, Any]) -> int:
    """Note a validation beside its job; answers its number within the version."""
    await connection.execute(_SQL["lock_version"], f"{facts['model']}/{facts['version']}")
    return int(
        await connection.fetchval(
            _SQL["add_validation"], validation, job, facts["model"], facts["version"],
            facts["package"], facts["dataset"], facts["snapshot"], facts["options"],
            facts["created_by"],
        )
    )  # fmt: skip


async def one(connection: Connection, validation: UUID) -> Validation | None:
    """A validation with the state of its job."""
    row = await connection.fetchrow(_SQL["one"], validation)
    return msgspec.convert(dict(row), Validation) if row else None


async def many(
    connection: Connection,
    *,
    model: str | None,
    version: int | None,
    after: TimeCursor | None,
    limit: int,
) -> list[Validation]:
    """Validations, newest first."""
    at, key = (after.at, after.id) if after else (None, None)
    rows = await connection.fetch(_SQL["many"], model, version, at, key, limit)
    return [msgspec.convert(dict(row), Validation) for row in rows]


async def finish(
    connection: Connection, validation: UUID, summary: dict[str, Any], gates: list[GateResult]
) -> int | None:
    """Write the outcome; answers the number, or None when it had been written before."""
    breached = any(not result.held for result in gates)
    number: int | None = await connection.fetchval(
        _SQL["finish"], validation, summary, msgspec.to_builtins(gates), breached
    )
    return number


async def add_report(
    connection: Connection, validation: UUID, name: str, media_type: str, content: bytes
) -> str:
    """Keep a report; answers its digest."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    await connection.execute(_SQL["add_report"], validation, name, media_type, digest, content)
    return digest


async def reports(connection: Connection, validation: UUID) -> list[ReportRow]:
    """Reports of a validation by name."""
    rows = await connection.fetch(_SQL["reports"], validation)
    return [msgspec.convert(dict(row), ReportRow) for row in rows]


async def report(connection: Connection, validation: UUID, name: str) -> tuple[str, bytes] | None:
    """Media type and content of a report."""
    row = await connection.fetchrow(_SQL["report"], validation, name)
    return (row["media_type"], row["content"]) if row else None


async def baseline(connection: Connection, model: str, version: int) -> str | None:
    """Package of the model's version that serves now, None when no other one does."""
    found: str | None = await connection.fetchval(_SQL["baseline"], model, version)
    return found


async def gates(connection: Connection, model: str) -> Gates:
    """The gates of a model; none by default."""
    found = await connection.fetchval(_SQL["gates"], model)
    return msgspec.convert(found or {}, Gates)


async def set_gates(connection: Connection, model: str, wanted: Gates, actor: str) -> None:
    """Set the gates of a model from now on."""
    await connection.execute(_SQL["set_gates"], model, msgspec.to_builtins(wanted), actor)
