"""HTTP of the acts on the evidence."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.audit import acts, parts
from control_plane.audit.schemas import (
    Disposal,
    Erasure,
    Explanation,
    NewErasure,
    NewPolicy,
    PartRows,
    Policy,
    Reason,
    Revealed,
)
from control_plane.db import sql
from control_plane.deps import Pool, Settings, User, require
from control_plane.paging import Cursor, Limit, Page, page_of, read_cursor

_SQL = sql.load("control_plane.audit")


@post("/audit/records/{record:uuid}/reveal", guards=[require("audit.reveal")], status_code=200)
async def reveal(
    pool: Pool, user: User, settings: Settings, record: FromPath[UUID], data: JSONBody[Reason]
) -> Revealed:
    """Sensitive values in the clear; the reading is recorded with its reason."""
    async with pool.transaction() as connection:
        return await acts.reveal(connection, settings, user, record, data.reason)


@post("/audit/erasures", guards=[require("audit.erase")])
async def erase(pool: Pool, user: User, settings: Settings, data: JSONBody[NewErasure]) -> Erasure:
    """Destroy a person's keys: what they sealed can be opened by nobody any more."""
    async with pool.transaction() as connection:
        return await acts.erase(connection, settings, user, data)


@post("/audit/records/{record:uuid}/explain", guards=[require("audit.read")], status_code=202)
async def explain(pool: Pool, user: User, record: FromPath[UUID]) -> Explanation:
    """The explanation of any record; `pending` until the explainer has made it."""
    async with pool.transaction() as connection:
        return await acts.explain(connection, user, record)


@get("/audit/parts", guards=[require("audit.read")])
async def part_rows(
    *,
    pool: Pool,
    user: User,
    settings: Settings,
    subject: FromQuery[str],
    endpoint: FromQuery[str | None] = None,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> PartRows:
    """Decisions about a subject that streams and bulk jobs made; `limit` is a number of parts."""
    span = (since, until)
    return await parts.find(pool, settings, user, subject, endpoint, span, cursor, limit)


@get("/audit/retention", guards=[require("audit.read")])
async def list_policies(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[Policy]:
    """How long each retention class is kept; a class without a policy is kept for ever."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    async with pool.connection() as connection:
        rows = await connection.fetch(_SQL["policies"], after, limit + 1)
    return page_of(rows, limit, lambda r: Policy(**r), lambda r: (r["retention_class"],))


@put("/audit/retention/{retention_class:str}", guards=[require("audit.retention")])
async def set_policy(
    pool: Pool,
    user: User,
    retention_class: FromPath[str],
    data: JSONBody[NewPolicy],
) -> Policy:
    """Say how long a class is kept; a legal hold keeps everything until it is lifted."""
    async with pool.transaction() as connection:
        return await acts.set_policy(connection, user, retention_class, data)


@get("/audit/disposals", guards=[require("audit.read")])
async def list_disposals(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[Disposal]:
    """Days that were archived and dropped, with the digest of their archive."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    async with pool.connection() as connection:
        rows = await connection.fetch(_SQL["disposals"], after, limit + 1)
    return page_of(rows, limit, lambda r: Disposal(**r), lambda r: (r["partition"],))


ROUTE_HANDLERS = [reveal, erase, explain, part_rows, list_policies, set_policy, list_disposals]
