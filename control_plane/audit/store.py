"""The evidence in PostgreSQL, read with the indexes it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from control_plane.audit.schemas import (
    Approval,
    Explanation,
    LinkedEvent,
    ModelFacts,
    Record,
    ReleaseFacts,
)
from control_plane.db import sql
from control_plane.db.pool import Connection

_SQL = sql.load("control_plane.audit")

_NO_TIME = datetime.fromtimestamp(0, UTC)
_BYTES = ("features", "context", "outputs", "error")


def time_of(record: UUID) -> datetime:
    """The millisecond in a UUIDv7."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=record.int >> 80)


def window_of(record: UUID) -> tuple[datetime, datetime]:
    """Times around the one in an id; they find its partition. A time no calendar has is none."""
    try:
        at = time_of(record)
        return at - timedelta(seconds=1), at + timedelta(seconds=1)
    except OverflowError:
        return _NO_TIME, _NO_TIME


async def one_record(connection: Connection, record: UUID) -> Record | None:
    """A record by its id."""
    row = await connection.fetchrow(_SQL["one"], record, *window_of(record))
    if row is None:
        return None
    values = dict(row)
    for name in _BYTES:
        values[name] = decode(values[name])
    return msgspec.convert(values, Record)


def decode(raw: bytes | None) -> Any:
    """Stored JSON as data; bytes that are no JSON are shown as text."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {"not_json": raw.decode("utf-8", "backslashreplace")[:10_000]}


async def explanation(connection: Connection, record: UUID) -> Explanation | None:
    """The newest explanation of a record."""
    row = await connection.fetchrow(_SQL["explanation"], record)
    return msgspec.convert(dict(row), Explanation) if row else None


async def release(connection: Connection, endpoint: str, number: int) -> ReleaseFacts | None:
    """A release by endpoint and number."""
    row = await connection.fetchrow(_SQL["release"], endpoint, number)
    return msgspec.convert(dict(row), ReleaseFacts) if row else None


async def model(connection: Connection, name: str, version: int) -> ModelFacts | None:
    """A model version."""
    row = await connection.fetchrow(_SQL["model"], name, version)
    return msgspec.convert(dict(row), ModelFacts) if row else None


async def model_approvals(connection: Connection, name: str, version: int) -> list[Approval]:
    """Who approved a model version."""
    rows = await connection.fetch(_SQL["model_approvals"], name, version)
    return [Approval(what=f"model {name} v{version}", **dict(row)) for row in rows]


async def release_approvals(
    connection: Connection, endpoint: str, number: int, release_id: UUID
) -> list[Approval]:
    """Who approved a release."""
    rows = await connection.fetch(_SQL["release_approvals"], release_id)
    return [Approval(what=f"release {endpoint} {number}", **dict(row)) for row in rows]


async def events(connection: Connection, record: UUID) -> list[LinkedEvent]:
    """What was said about a decision afterwards, oldest first."""
    rows = await connection.fetch(_SQL["events"], record)
    return [msgspec.convert(dict(row), LinkedEvent) for row in rows]
