"""The evidence in PostgreSQL, read with the indexes it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from control_plane.audit.schemas import (
    Approval,
    Explanation,
    Filters,
    LinkedEvent,
    ModelFacts,
    Record,
    RecordRow,
    ReleaseFacts,
)
from control_plane.db import sql
from control_plane.db.pool import Connection

_SQL = sql.load("control_plane.audit")

_EQUAL = (
    "endpoint", "subject_ref", "request_id", "decision", "model", "version", "rule", "release",
    "status", "key_id",
)  # fmt: skip
"""Columns that a filter compares for equality; the only names that ever enter the SQL."""
_LINKED = ("outcome", "override")
"""Filters on linked events; their conditions are in ``queries.sql``."""
_SELECTIVE = ("subject_ref", "request_id", *_LINKED)

_NO_TIME = datetime.fromtimestamp(0, UTC)
_BYTES = ("features", "context", "outputs", "error")


async def list_records(
    connection: Connection, filters: Filters, before: UUID | None, limit: int
) -> list[RecordRow]:
    """Records, newest first.

    Args:
        connection: to read with.
        filters: which ones.
        before: only ids below this one.
        limit: at most.
    """
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, value: Any) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))

    for column in _EQUAL:
        value = getattr(filters, column)
        if value is not None:
            add(column + " = {}", value)
    for kind in _LINKED:
        value = getattr(filters, kind)
        if value is not None:
            add(_SQL[kind].strip(), value)
    if filters.since is not None:
        add("id >= {}", first_id(filters.since))
        add("received_at >= {}", filters.since)
    if filters.until is not None:
        add("id < {}", first_id(filters.until + timedelta(milliseconds=1)))
        add("received_at < {}", filters.until)
    if before is not None:
        add("id < {}", before)
        add("received_at < {}", time_of(before) + timedelta(milliseconds=1))
    values.append(limit)
    selective = any(getattr(filters, column) is not None for column in _SELECTIVE)
    query = _SQL["by_key" if selective else "by_time"].format(
        where=" AND ".join(conditions) or "true", limit=f"${len(values)}"
    )
    rows = await connection.fetch(query, *values)
    return [msgspec.convert(dict(row), RecordRow) for row in rows]


def first_id(at: datetime) -> UUID:
    """The lowest UUIDv7 of a millisecond."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


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
