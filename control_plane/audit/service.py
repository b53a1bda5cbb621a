"""Questions to the evidence; each one is itself written into the administrative log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from control_plane import adminlog
from control_plane.audit import store
from control_plane.audit.schemas import Evidence, Explanation, Filters, RecordRow
from control_plane.audit.search import Place, search
from control_plane.db.pool import Connection
from control_plane.errors import InvalidError, UnavailableError
from control_plane.identity.user import User
from control_plane.paging import Page, check_limit, read_cursor, write_cursor
from control_plane.settings import ControlSettings


async def find_subject(settings: ControlSettings, subject: str) -> str:
    """The reference under which a subject's records are stored.

    Raises:
        UnavailableError: this process does not have the key of the references.
    """
    from router.subject import load_subject_key

    path = settings.subject_key or settings.home / "secrets" / "subject.key"
    if not await asyncio.to_thread(path.is_file):
        raise UnavailableError(
            "records cannot be looked up by subject: the subject key is not there",
            code="subject.key",
            hint="set INTERLOCK_SUBJECT_KEY to the routers' key file",
        )
    hasher = await asyncio.to_thread(load_subject_key, path)
    return hasher.ref(subject)


async def list_records(
    connection: Connection, user: User, filters: Filters, cursor: str, limit: int
) -> Page[RecordRow]:
    """A page of records, newest first, inside a transaction that also notes the question.

    A page may be shorter than its limit, even empty, and have a next one: see `search.py`.

    Raises:
        InvalidError: not a cursor, limit or time range.
    """
    check_limit(limit)
    filters = msgspec.structs.replace(
        filters, since=aware(filters.since), until=aware(filters.until)
    )
    if filters.since and filters.until and filters.since >= filters.until:
        raise InvalidError("expected since before until", code="audit.range", at="since")
    after = None
    if cursor:
        at, row = read_cursor(cursor, datetime, UUID)
        after = Place(aware(at) or at, row)
    try:
        found = await search(connection, filters, after, limit, datetime.now(UTC))
    except OverflowError:
        raise InvalidError(
            "expected times that a calendar has", code="audit.range", at="until"
        ) from None
    await adminlog.note(
        connection, user.email, "audit.query", filters=asked(filters), found=len(found.rows)
    )
    following = write_cursor(found.after.at, found.after.id) if found.after else None
    return Page(found.rows, following)


def aware(at: datetime | None) -> datetime | None:
    """A time without a zone is meant as UTC."""
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def asked(filters: Filters) -> dict[str, Any]:
    """The filters that were given, as data."""
    given: dict[str, Any] = msgspec.to_builtins(filters)
    return {name: value for name, value in given.items() if value is not None}


async def read_evidence(connection: Connection, user: User, record: UUID) -> Evidence | None:
    """One decision with its explanation, release, model and approvals; None for no such record.

    The caller raises after his transaction, so that the question stays in the log.
    """
    found = await store.one_record(connection, record)
    await adminlog.note(connection, user.email, "audit.read", str(record), found=found is not None)
    if found is None:
        return None
    explanation = await store.explanation(connection, record)
    release = await store.release(connection, found.endpoint, found.release)
    approvals = []
    model = None
    if found.model is not None and found.version is not None:
        model = await store.model(connection, found.model, found.version)
        approvals += await store.model_approvals(connection, found.model, found.version)
    if release is not None:
        approvals += await store.release_approvals(
            connection, found.endpoint, release.number, release.id
        )
    return Evidence(
        found,
        explanation or Explanation("pending" if found.explain else "none"),
        release,
        model,
        approvals,
        await store.events(connection, record),
    )
