"""HTTP of endpoints and drafts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from litestar import Response, get, patch, post, put
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from control_plane.deps import Bell, Pool, Settings, User, require
from control_plane.endpoints import diff, drafts, release_routes, service, store
from control_plane.endpoints.schemas import (
    ActivationRow,
    Because,
    DiffWanted,
    Draft,
    DraftDiff,
    DraftView,
    EndpointChange,
    EndpointRow,
    Findings,
    NewEndpoint,
    Served,
    Serving,
    Turn,
)
from control_plane.identity.roster import read_root_key
from control_plane.paging import Cursor, Limit, Page

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match")]
_ENDPOINT = "/endpoints/{endpoint:str}"


@get("/endpoints", guards=[require("endpoints.read")])
async def list_endpoints(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[EndpointRow]:
    """Endpoints by name, with what they serve."""
    async with pool.connection() as connection:
        return await store.list_endpoints(connection, cursor, limit)


@post("/endpoints", guards=[require("endpoints.write")])
async def create_endpoint(data: JSONBody[NewEndpoint], pool: Pool, user: User) -> EndpointRow:
    """Create an endpoint."""
    async with pool.transaction() as connection:
        await drafts.create_endpoint(connection, data, user)
        return await store.read_endpoint(connection, data.name)


@get(_ENDPOINT, guards=[require("endpoints.read")])
async def read_endpoint(endpoint: FromPath[str], pool: Pool) -> EndpointRow:
    """One endpoint."""
    async with pool.connection() as connection:
        return await store.read_endpoint(connection, endpoint)


@patch(_ENDPOINT, guards=[require("endpoints.write")])
async def change_endpoint(
    endpoint: FromPath[str], data: JSONBody[EndpointChange], pool: Pool, user: User
) -> EndpointRow:
    """Change owner or SLO; both go into the next release."""
    async with pool.transaction() as connection:
        await drafts.change_endpoint(connection, endpoint, data, user)
        return await store.read_endpoint(connection, endpoint)


def _tagged(view: DraftView) -> Response[DraftView]:
    return Response(view, headers={"ETag": f'"{view.revision}"'})


@get(_ENDPOINT + "/draft", guards=[require("endpoints.read")])
async def read_draft(endpoint: FromPath[str], pool: Pool) -> Response[DraftView]:
    """The draft; its ETag is what a change has to name."""
    async with pool.connection() as connection:
        return _tagged(await drafts.read_draft(connection, endpoint))


@put(_ENDPOINT + "/draft", guards=[require("endpoints.edit")])
async def write_draft(
    endpoint: FromPath[str],
    data: JSONBody[Draft],
    pool: Pool,
    user: User,
    if_match: IfMatch = None,
) -> Response[DraftView]:
    """The next draft. ``If-Match`` names the one it changes, ``"0"`` for the first."""
    revision = drafts.parse_revision(if_match)
    async with pool.transaction() as connection:
        return _tagged(await drafts.write_draft(connection, endpoint, data, revision, user))


@post(_ENDPOINT + "/draft/check", guards=[require("endpoints.read")], status_code=200)
async def check_draft(endpoint: FromPath[str], pool: Pool) -> Findings:
    """Compile and analyse the draft; errors stop a proposal."""
    async with pool.connection() as connection:
        _, parts = await drafts.check_draft(connection, endpoint)
    return drafts.findings_of(parts)


@post(_ENDPOINT + "/draft/diff", guards=[require("endpoints.read")], status_code=200)
async def diff_draft(
    endpoint: FromPath[str], data: JSONBody[DiffWanted], pool: Pool, settings: Settings
) -> DraftDiff:
    """What the draft changes against the release in service, on recent requests."""
    async with pool.connection() as connection:
        return await diff.diff_draft(connection, endpoint, settings.artifact_store, data.traffic)


@post(_ENDPOINT + "/rollback", guards=[require("releases.rollback")], status_code=200)
async def rollback(
    *,
    endpoint: FromPath[str],
    data: JSONBody[Turn],
    pool: Pool,
    user: User,
    settings: Settings,
    bell: Bell,
) -> Serving:
    """Return to an older release, at once."""
    releaser = await service.load_releaser(settings.releaser_key)
    async with pool.transaction() as connection:
        answer = await service.rollback(
            connection,
            endpoint,
            data.to,
            user,
            reason=data.reason,
            root=read_root_key(settings.root_key),
            releaser=releaser,
        )
    await bell.ring(endpoint)
    return answer


@post(_ENDPOINT + "/suspend", guards=[require("endpoints.suspend")], status_code=200)
async def suspend(
    endpoint: FromPath[str], data: JSONBody[Because], pool: Pool, user: User, bell: Bell
) -> Serving:
    """Kill switch: the endpoint falls to its safe default on every node."""
    async with pool.transaction() as connection:
        answer = await service.switch_off(connection, endpoint, user, reason=data.reason, off=True)
    await bell.ring(endpoint)
    return answer


@post(_ENDPOINT + "/resume", guards=[require("releases.activate")], status_code=200)
async def resume(
    endpoint: FromPath[str], data: JSONBody[Because], pool: Pool, user: User, bell: Bell
) -> Serving:
    """Let a suspended endpoint go on."""
    async with pool.transaction() as connection:
        answer = await service.switch_off(connection, endpoint, user, reason=data.reason, off=False)
    await bell.ring(endpoint)
    return answer


@get(_ENDPOINT + "/activations", guards=[require("releases.read")])
async def list_activations(
    endpoint: FromPath[str], pool: Pool, cursor: Cursor = "", limit: Limit = 100
) -> Page[ActivationRow]:
    """Every switch of an endpoint, newest first."""
    async with pool.connection() as connection:
        return await store.list_activations(connection, endpoint, cursor, limit)


@get(_ENDPOINT + "/served", guards=[require("releases.read")])
async def served_at(
    endpoint: FromPath[str],
    pool: Pool,
    at: FromQuery[datetime | None] = None,
    known_at: FromQuery[datetime | None] = None,
) -> Served:
    """What served this endpoint at a time, and who approved it."""
    now = datetime.now(UTC)
    async with pool.connection() as connection:
        return await store.served_at(connection, endpoint, at or now, known_at or now)


ROUTE_HANDLERS = [
    list_endpoints, create_endpoint, read_endpoint, change_endpoint, read_draft, write_draft,
    check_draft, diff_draft, rollback, suspend, resume, list_activations, served_at,
    *release_routes.ROUTE_HANDLERS,
]  # fmt: skip
