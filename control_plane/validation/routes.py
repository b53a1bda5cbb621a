"""Validation over HTTP: start, watch, read the reports, set the gates."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from control_plane.deps import Pool, User, require
from control_plane.paging import DEFAULT_LIMIT, Cursor, Limit, Page, Whole
from control_plane.validation import service, store
from control_plane.validation.schemas import Gates, NewValidation, ReportRow, Validation

SAFE_PAGE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""A report runs nothing and loads nothing."""


@post("/validations", guards=[require("runs.write")], status_code=202)
async def start_validation(pool: Pool, user: User, data: JSONBody[NewValidation]) -> Validation:
    """Queue the validation of a version on a snapshot."""
    async with pool.transaction() as connection:
        return await service.start(connection, user, data)


@get("/validations", guards=[require("models.read")])
async def list_validations(
    pool: Pool,
    model: FromQuery[str | None] = None,
    version: Whole = None,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Validation]:
    """Validations, newest first."""
    async with pool.connection() as connection:
        return await service.listing(
            connection, model=model, version=version, cursor=cursor, limit=limit
        )


@get("/validations/{validation:uuid}", guards=[require("models.read")])
async def read_validation(pool: Pool, validation: FromPath[UUID]) -> Validation:
    """A validation: how far it is, what it found, which gates held."""
    async with pool.connection() as connection:
        return await service.find(connection, validation)


@get("/validations/{validation:uuid}/reports", guards=[require("models.read")])
async def list_reports(pool: Pool, validation: FromPath[UUID]) -> list[ReportRow]:
    """Its reports: four as data, and the page that shows them."""
    async with pool.connection() as connection:
        await service.find(connection, validation)
        return await store.reports(connection, validation)


@get("/validations/{validation:uuid}/reports/{name:str}", guards=[require("models.read")])
async def read_report(
    pool: Pool, validation: FromPath[UUID], name: FromPath[str]
) -> Response[bytes]:
    """One report."""
    async with pool.connection() as connection:
        media_type, content = await service.report(connection, validation, name)
    return Response(content, media_type=media_type, headers=SAFE_PAGE)


@get("/models/{model:str}/gates", guards=[require("models.read")])
async def read_gates(pool: Pool, model: FromPath[str]) -> Gates:
    """What the model's versions must reach before approval."""
    async with pool.connection() as connection:
        return await store.gates(connection, model)


@put("/models/{model:str}/gates", guards=[require("models.approve")])
async def set_gates(pool: Pool, user: User, model: FromPath[str], data: JSONBody[Gates]) -> Gates:
    """Set the gates; versions have to be validated against them before approval."""
    async with pool.transaction() as connection:
        return await service.set_gates(connection, user, model, data)


ROUTE_HANDLERS = [
    start_validation,
    list_validations,
    read_validation,
    list_reports,
    read_report,
    read_gates,
    set_gates,
]
