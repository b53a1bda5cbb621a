"""The evidence over HTTP."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from litestar import get
from litestar.params import FromPath, FromQuery

from control_plane.audit import act_routes, service
from control_plane.audit.schemas import Evidence, Filters, RecordRow
from control_plane.deps import Pool, Settings, User, require
from control_plane.errors import NotFoundError
from control_plane.paging import DEFAULT_LIMIT, Cursor, Limit, Page, Whole


@get("/audit/records", guards=[require("audit.read")])
async def list_records(
    *,
    pool: Pool,
    user: User,
    settings: Settings,
    endpoint: FromQuery[str | None] = None,
    subject: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    decision: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    version: Whole = None,
    rule: FromQuery[str | None] = None,
    release: Whole = None,
    status: Whole = None,
    key_id: FromQuery[str | None] = None,
    outcome: FromQuery[str | None] = None,
    override: FromQuery[str | None] = None,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
) -> Page[RecordRow]:
    """Decisions, newest first. `subject` is whom they are about; only its keyed hash is stored.

    A page may hold fewer than `limit` rows and still have a `next`: a call looks at a bounded
    number of rows of today and yesterday. Go on until `next` is null.
    """
    filters = Filters(
        endpoint=endpoint,
        subject_ref=await service.find_subject(settings, subject) if subject else None,
        request_id=request_id,
        decision=decision,
        model=model,
        version=version,
        rule=rule,
        release=release,
        status=status,
        key_id=key_id,
        outcome=outcome,
        override=override,
        since=since,
        until=until,
    )
    async with pool.transaction() as connection:
        return await service.list_records(connection, user, filters, cursor, limit)


@get("/audit/records/{record:uuid}", guards=[require("audit.read")])
async def read_record(pool: Pool, user: User, record: FromPath[UUID]) -> Evidence:
    """One decision, and everything that led to it."""
    async with pool.transaction() as connection:
        found = await service.read_evidence(connection, user, record)
    if found is None:
        raise NotFoundError(
            f"there is no record {record}",
            code="record.unknown",
            hint="a decision of the last seconds may not have been shipped yet",
        )
    return found


ROUTE_HANDLERS = [list_records, read_record, *act_routes.ROUTE_HANDLERS]
