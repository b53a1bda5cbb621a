"""HTTP of model approval."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath, JSONBody

from control_plane.approvals import service
from control_plane.approvals.schemas import Signed, Standing, StatementToSign, Submission
from control_plane.deps import Bell, Pool, Settings, User, require
from control_plane.identity.roster import read_root_key
from control_plane.registry.schemas import Reason

_VERSION = "/models/{model:str}/versions/{version:int}"
_JUDGES = {"demands": "models.approve"}
"""Checked in the service, after the question whether it is one's own work."""


@post(_VERSION + "/submit", guards=[require("models.submit")], status_code=200)
async def submit(
    model: FromPath[str],
    version: FromPath[int],
    pool: Pool,
    user: User,
    data: JSONBody[Submission | None] = None,
) -> Standing:
    """Ask for approval."""
    async with pool.transaction() as connection:
        return await service.submit(connection, model, version, user, data.note if data else "")


@get(_VERSION + "/statement", guards=[require("models.read")], opt=_JUDGES)
async def show_statement(
    model: FromPath[str], version: FromPath[int], pool: Pool, user: User, settings: Settings
) -> StatementToSign:
    """The approval statement to sign."""
    async with pool.connection() as connection:
        return await service.statement(connection, model, version, user, settings.approval_days)


@post(_VERSION + "/approve", guards=[require("models.read")], opt=_JUDGES, status_code=200)
async def approve(
    *,
    model: FromPath[str],
    version: FromPath[int],
    data: JSONBody[Signed],
    pool: Pool,
    user: User,
    settings: Settings,
) -> Standing:
    """Approve with a signed statement."""
    async with pool.transaction() as connection:
        return await service.approve(
            connection,
            model,
            version,
            user,
            envelope=data.raw(),
            root=read_root_key(settings.root_key),
            days=settings.approval_days,
        )


@post(_VERSION + "/reject", guards=[require("models.read")], opt=_JUDGES, status_code=200)
async def reject(
    model: FromPath[str], version: FromPath[int], data: JSONBody[Reason], pool: Pool, user: User
) -> Standing:
    """Reject a submitted version."""
    async with pool.transaction() as connection:
        return await service.turn_down(
            connection, model, version, user, state="rejected", reason=data.reason
        )


@post(_VERSION + "/request-changes", guards=[require("models.read")], opt=_JUDGES, status_code=200)
async def request_changes(
    model: FromPath[str], version: FromPath[int], data: JSONBody[Reason], pool: Pool, user: User
) -> Standing:
    """Ask for changes before approval."""
    async with pool.transaction() as connection:
        return await service.turn_down(
            connection, model, version, user, state="changes_requested", reason=data.reason
        )


@post(_VERSION + "/retire", guards=[require("models.submit")], status_code=200)
async def retire(
    model: FromPath[str], version: FromPath[int], data: JSONBody[Reason], pool: Pool, user: User
) -> Standing:
    """Retire a version that nothing serves any more."""
    async with pool.transaction() as connection:
        return await service.end(
            connection, model, version, user, state="retired", reason=data.reason
        )


@post(_VERSION + "/terminate", guards=[require("models.terminate")], status_code=200)
async def terminate(
    *,
    model: FromPath[str],
    version: FromPath[int],
    data: JSONBody[Reason],
    pool: Pool,
    user: User,
    bell: Bell,
) -> Standing:
    """Kill switch: every endpoint that serves this version falls to its safe default."""
    async with pool.transaction() as connection:
        answer = await service.end(
            connection, model, version, user, state="terminated", reason=data.reason
        )
    await bell.ring("terminate")
    return answer


ROUTE_HANDLERS = [
    submit, show_statement, approve, reject, request_changes, retire, terminate,
]  # fmt: skip
