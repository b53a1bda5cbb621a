"""HTTP of releases."""

from __future__ import annotations

from uuid import UUID

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.approvals.schemas import Signed, StatementToSign
from control_plane.deps import Bell, Pool, Settings, User, require
from control_plane.endpoints import releases, service, store
from control_plane.endpoints.schemas import Because, Proposal, ReleaseRow, ReleaseView, Serving
from control_plane.identity.roster import read_root_key
from control_plane.paging import Cursor, Limit, Page

_RELEASE = "/releases/{release:uuid}"
_JUDGES = {"demands": "releases.approve"}
"""Checked in the service, after the question whether it is one's own edit."""


@post("/endpoints/{endpoint:str}/releases", guards=[require("releases.propose")])
async def propose(
    endpoint: FromPath[str], data: JSONBody[Proposal], pool: Pool, user: User
) -> ReleaseView:
    """Fix the draft as the next release."""
    async with pool.transaction() as connection:
        release = await releases.propose(connection, endpoint, data, user)
        return await store.read_release(connection, release)


@get("/releases", guards=[require("releases.read")])
async def list_releases(
    pool: Pool, endpoint: FromQuery[str] = "", cursor: Cursor = "", limit: Limit = 100
) -> Page[ReleaseRow]:
    """Releases, newest first."""
    async with pool.connection() as connection:
        return await store.list_releases(connection, endpoint, cursor, limit)


@get(_RELEASE, guards=[require("releases.read")])
async def read_release(release: FromPath[UUID], pool: Pool) -> ReleaseView:
    """Everything about a release."""
    async with pool.connection() as connection:
        return await store.read_release(connection, release)


@get(_RELEASE + "/statement", guards=[require("releases.read")], opt=_JUDGES)
async def show_statement(
    release: FromPath[UUID], pool: Pool, user: User, settings: Settings
) -> StatementToSign:
    """The approval statement to sign."""
    async with pool.connection() as connection:
        return await releases.statement(connection, release, user, settings.approval_days)


@post(_RELEASE + "/approve", guards=[require("releases.read")], opt=_JUDGES, status_code=200)
async def approve(
    release: FromPath[UUID], data: JSONBody[Signed], pool: Pool, user: User, settings: Settings
) -> ReleaseView:
    """Approve with a signed statement."""
    async with pool.transaction() as connection:
        await releases.approve(
            connection,
            release,
            user,
            envelope=data.raw(),
            root=read_root_key(settings.root_key),
            days=settings.approval_days,
        )
        return await store.read_release(connection, release)


@post(_RELEASE + "/reject", guards=[require("releases.read")], opt=_JUDGES, status_code=200)
async def reject(
    release: FromPath[UUID], data: JSONBody[Because], pool: Pool, user: User
) -> ReleaseView:
    """Turn a release down; its proposer may take it back."""
    async with pool.transaction() as connection:
        await releases.reject(connection, release, user, data.reason)
        return await store.read_release(connection, release)


@post(_RELEASE + "/activate", guards=[require("releases.activate")], status_code=200)
async def activate(
    release: FromPath[UUID], pool: Pool, user: User, settings: Settings, bell: Bell
) -> Serving:
    """Put an approved release into service."""
    releaser = await service.load_releaser(settings.releaser_key)
    async with pool.transaction() as connection:
        answer = await service.activate(
            connection,
            release,
            user,
            root=read_root_key(settings.root_key),
            releaser=releaser,
        )
    await bell.ring(answer.endpoint)
    return answer


ROUTE_HANDLERS = [
    propose, list_releases, read_release, show_statement, approve, reject, activate,
]  # fmt: skip
