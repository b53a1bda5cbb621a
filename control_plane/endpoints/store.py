"""Endpoints, releases and their history as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.drafts import find_endpoint
from control_plane.endpoints.releases import content_document, find_release
from control_plane.endpoints.schemas import (
    ActivationRow,
    EndpointRow,
    ReleaseApprovalRow,
    ReleaseEventRow,
    ReleaseRow,
    ReleaseView,
    Served,
    ServedModel,
)
from control_plane.errors import NotFoundError
from control_plane.paging import Page, page_of, read_cursor

_SQL = sql.load("control_plane.endpoints")
_LAST = (datetime.fromisoformat("9999-01-01T00:00:00+00:00"), UUID(int=2**128 - 1))


async def list_endpoints(connection: Connection, cursor: str, limit: int) -> Page[EndpointRow]:
    """Endpoints by name."""
    after = read_cursor(cursor, str)[0] if cursor else ""
    rows = await connection.fetch(_SQL["list_endpoints"], after, limit + 1)
    return page_of(rows, limit, lambda r: EndpointRow(**r), lambda r: (r["name"],))


async def read_endpoint(connection: Connection, name: str) -> EndpointRow:
    """One endpoint.

    Raises:
        NotFoundError: no such endpoint.
    """
    rows = await connection.fetch(_SQL["read_endpoint"], name)
    if not rows:
        await find_endpoint(connection, name)
    return EndpointRow(**rows[0])


async def list_releases(
    connection: Connection, endpoint: str, cursor: str, limit: int
) -> Page[ReleaseRow]:
    """Releases, newest first; of one endpoint when it is named."""
    before = read_cursor(cursor, datetime, UUID) if cursor else _LAST
    rows = await connection.fetch(_SQL["list_releases"], endpoint, *before, limit + 1)
    return page_of(
        rows,
        limit,
        lambda r: ReleaseRow(**{**r, "editors": list(r["editors"])}),
        lambda r: (r["at"], r["id"]),
    )


async def read_release(connection: Connection, release: UUID) -> ReleaseView:
    """Everything about a release.

    Raises:
        NotFoundError: no such release.
    """
    row = await find_release(connection, release)
    approvals = await connection.fetch(_SQL["list_release_approvals"], release)
    history = await connection.fetch(_SQL["list_release_events"], release)
    return ReleaseView(
        id=row["id"],
        endpoint=row["endpoint"],
        number=row["number"],
        state=row["state"],
        digest=row["digest"],
        proposed_by=row["proposed_by"],
        editors=list(row["editors"]),
        justification=row["justification"],
        effective_from=row["effective_from"],
        at=row["at"],
        content=content_document(row),
        approvals=[ReleaseApprovalRow(**approval) for approval in approvals],
        history=[ReleaseEventRow(**event) for event in history],
    )


async def list_activations(
    connection: Connection, endpoint: str, cursor: str, limit: int
) -> Page[ActivationRow]:
    """Every switch of an endpoint, newest first."""
    await find_endpoint(connection, endpoint)
    before = read_cursor(cursor, int)[0] if cursor else 2**62
    rows = await connection.fetch(_SQL["list_activations"], endpoint, before, limit + 1)
    return page_of(rows, limit, lambda r: ActivationRow(**r), lambda r: (r["id"],))


async def served_at(
    connection: Connection, endpoint: str, at: datetime, known_at: datetime
) -> Served:
    """What served an endpoint at a time, as it was known at a time, and who approved it.

    Args:
        connection: for reading.
        endpoint: name.
        at: the time asked about.
        known_at: what was recorded later is left out.

    Raises:
        NotFoundError: no such endpoint.
    """
    await find_endpoint(connection, endpoint)
    row = await connection.fetchrow(_SQL["served_at"], endpoint, at, known_at)
    if row is None:
        return Served(endpoint, at, known_at, suspended=False)
    release: UUID = row["release"]
    off = await connection.fetchval(_SQL["suspended_at"], endpoint, at, known_at)
    off = off or await connection.fetchval(_SQL["terminated_at"], release, min(at, known_at))
    approvals = await connection.fetch(_SQL["list_release_approvals"], release)
    models = await connection.fetch(_SQL["served_models"], release)
    return Served(
        endpoint=endpoint,
        at=at,
        known_at=known_at,
        suspended=bool(off),
        number=row["number"],
        release=release,
        digest=row["digest"],
        activation=activation_of(row),
        proposed_by=row["proposed_by"],
        editors=list(row["editors"]),
        justification=row["justification"],
        approvals=[ReleaseApprovalRow(**approval) for approval in approvals],
        models=[ServedModel(**model) for model in models],
    )


def activation_of(row: Any) -> ActivationRow:
    """The activation in a wider row."""
    return ActivationRow(
        row["id"],
        row["kind"],
        row["number"],
        row["valid_from"],
        row["recorded_at"],
        row["actor"],
        row["reason"],
    )


async def find_number(connection: Connection, endpoint: str, number: int) -> UUID:
    """Id of a release by its number.

    Raises:
        NotFoundError: no such release.
    """
    row = await connection.fetchrow(_SQL["find_release_number"], endpoint, number)
    if row is None:
        raise NotFoundError(f"{endpoint} has no release {number}", code="release.unknown")
    found: UUID = row["id"]
    return found
