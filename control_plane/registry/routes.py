"""HTTP of the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from control_plane import adminlog
from control_plane.db import sql
from control_plane.deps import Pool, Settings, User, require
from control_plane.errors import NotFoundError
from control_plane.identity.roster import read_root_key
from control_plane.paging import Cursor, Limit, Page
from control_plane.registry import store
from control_plane.registry.push import MAX_PUSH_BYTES, Pushed, push
from control_plane.registry.schemas import (
    AliasChange,
    AliasRow,
    Comparison,
    ModelRow,
    ModelView,
    ReportRow,
    TierChange,
    VersionRow,
    VersionView,
)
from control_plane.registry.service import check_name, find_version

_SQL = sql.load("control_plane.registry")
_VERSION = "/models/{model:str}/versions/{version:int}"


@get("/models", guards=[require("models.read")])
async def list_models(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[ModelRow]:
    """Models by name."""
    async with pool.connection() as connection:
        return await store.list_models(connection, cursor, limit)


@get("/models/{model:str}", guards=[require("models.read")])
async def read_model(model: FromPath[str], pool: Pool) -> ModelView:
    """One model."""
    async with pool.connection() as connection:
        return await store.read_model(connection, model)


@post(
    "/models",
    guards=[require("models.write")],
    opt={"streams": True},
    request_max_body_size=MAX_PUSH_BYTES,
)
async def push_package(
    request: Request[Any, Any, Any], pool: Pool, user: User, settings: Settings
) -> Pushed:
    """Bring a signed package: a tar archive of its folder as the body (`application/x-tar`)."""
    return await push(
        pool,
        user,
        request.stream(),
        root_public=read_root_key(settings.root_key),
        store=settings.artifact_store,
    )


@put("/models/{model:str}/tier", guards=[require("models.approve")])
async def set_tier(
    model: FromPath[str], data: JSONBody[TierChange], pool: Pool, user: User
) -> ModelView:
    """Say how much hangs on a model: a high-tier version needs two approvals."""
    async with pool.transaction() as connection:
        before = await store.read_model(connection, model)
        await connection.execute(_SQL["set_tier"], model, data.tier)
        await adminlog.note(
            connection, user.email, "model.tier", model, before=before.tier, after=data.tier
        )
        return await store.read_model(connection, model)


@get("/models/{model:str}/versions", guards=[require("models.read")])
async def list_versions(
    model: FromPath[str], pool: Pool, cursor: Cursor = "", limit: Limit = 100
) -> Page[VersionRow]:
    """Versions of a model, newest first."""
    async with pool.connection() as connection:
        return await store.list_versions(connection, model, cursor, limit)


@get(_VERSION, guards=[require("models.read")])
async def read_version(model: FromPath[str], version: FromPath[int], pool: Pool) -> VersionView:
    """Everything about a version."""
    async with pool.connection() as connection:
        return await store.read_version(connection, model, version)


@get("/models/{model:str}/compare", guards=[require("models.read")])
async def compare(
    model: FromPath[str],
    before: Annotated[int, QueryParameter(ge=1)],
    after: Annotated[int, QueryParameter(ge=1)],
    pool: Pool,
) -> Comparison:
    """What differs between two versions."""
    async with pool.connection() as connection:
        return await store.compare(connection, model, before, after)


@get(_VERSION + "/reports", guards=[require("models.read")])
async def list_reports(model: FromPath[str], version: FromPath[int], pool: Pool) -> list[ReportRow]:
    """The reports of a version and who opened them."""
    async with pool.connection() as connection:
        await find_version(connection, model, version)
        return await store.list_reports(connection, model, version)


@get(_VERSION + "/reports/{name:str}", guards=[require("models.read")])
async def open_report(
    model: FromPath[str], version: FromPath[int], name: FromPath[str], pool: Pool, user: User
) -> Response[bytes]:
    """A report; that this person opened it is recorded."""
    async with pool.transaction() as connection:
        content, media_type, digest = await store.open_report(
            connection, model, version, name, user.email
        )
    return Response(content, media_type=media_type, headers={"ETag": f'"{digest}"'})


@get("/models/{model:str}/aliases", guards=[require("models.read")])
async def list_aliases(
    *,
    model: FromPath[str],
    pool: Pool,
    known_at: FromQuery[datetime | None] = None,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[AliasRow]:
    """Every move of this model's aliases, as it was known at a time."""
    async with pool.connection() as connection:
        await store.read_model(connection, model)
        return await store.list_aliases(
            connection, model, known_at or datetime.now(UTC), cursor, limit
        )


@put("/models/{model:str}/aliases/{alias:str}", guards=[require("models.write")])
async def move_alias(
    model: FromPath[str],
    alias: FromPath[str],
    data: JSONBody[AliasChange],
    pool: Pool,
    user: User,
) -> ModelView:
    """Point an alias at a version. An alias is a name for people; releases never follow it."""
    check_name(alias)
    async with pool.transaction() as connection:
        await store.read_model(connection, model)
        if data.version is not None:
            await find_version(connection, model, data.version)
        elif alias not in (await store.read_model(connection, model)).aliases:
            raise NotFoundError(f"there is no alias {alias!r}", code="alias.unknown")
        await connection.execute(_SQL["add_alias"], model, alias, data.version, user.email)
        await adminlog.note(
            connection, user.email, "model.alias", f"{model}/{alias}", version=data.version
        )
        return await store.read_model(connection, model)


ROUTE_HANDLERS = [
    list_models, push_package, read_model, set_tier, list_versions, read_version, compare,
    list_reports, open_report, list_aliases, move_alias,
]  # fmt: skip
