"""Endpoints and their drafts: every edit is kept, and nobody overwrites an edit he has not seen."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.assemble import Parts, against_live, assemble
from control_plane.endpoints.cost import cost_findings
from control_plane.endpoints.schemas import (
    Draft,
    DraftView,
    EndpointChange,
    Findings,
    NewEndpoint,
)
from control_plane.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    StaleEditError,
)
from control_plane.identity.user import User

_SQL = sql.load("control_plane.endpoints")


async def find_endpoint(connection: Connection, name: str) -> Any:
    """The row of an endpoint.

    Raises:
        NotFoundError: no such endpoint.
    """
    row = await connection.fetchrow(_SQL["find_endpoint"], name)
    if row is None:
        raise NotFoundError(
            f"there is no endpoint {name[:80]!r}",
            code="endpoint.unknown",
            hint="GET /api/endpoints lists what there is",
        )
    return row


async def create_endpoint(connection: Connection, wanted: NewEndpoint, user: User) -> None:
    """A new endpoint without a draft.

    Raises:
        ConflictError: ``endpoint.exists``.
        InvalidError: the owner is nobody who could answer for it.
    """
    owner = wanted.owner or user.email
    await _demand_person(connection, owner)
    made = await connection.fetchval(
        _SQL["add_endpoint"], wanted.name, owner, wanted.slo, user.email
    )
    if made is None:
        raise ConflictError(f"endpoint {wanted.name!r} exists already", code="endpoint.exists")
    await adminlog.note(
        connection, user.email, "endpoint.create", wanted.name, owner=owner, slo=wanted.slo
    )


async def change_endpoint(
    connection: Connection, name: str, change: EndpointChange, user: User
) -> None:
    """Another owner or SLO; it is written into the next release."""
    row = await find_endpoint(connection, name)
    owner = row["owner"] if change.owner is None else change.owner
    slo = row["slo"] if change.slo is None else change.slo
    await _demand_person(connection, owner)
    await connection.execute(_SQL["change_endpoint"], name, owner, slo)
    await adminlog.note(
        connection, user.email, "endpoint.change", name,
        before={"owner": row["owner"], "slo": row["slo"]}, after={"owner": owner, "slo": slo},
    )  # fmt: skip


async def _demand_person(connection: Connection, email: str) -> None:
    if not await connection.fetchval(_SQL["person_exists"], email):
        raise InvalidError(
            f"expected the e-mail of a person as owner, got {email[:80]!r}", code="endpoint.owner"
        )


async def read_draft(connection: Connection, endpoint: str) -> DraftView:
    """The newest draft.

    Raises:
        NotFoundError: ``draft.missing``: nobody wrote one yet.
    """
    await find_endpoint(connection, endpoint)
    row = await connection.fetchrow(_SQL["latest_draft"], endpoint)
    if row is None:
        raise NotFoundError(
            f"endpoint {endpoint!r} has no draft yet",
            code="draft.missing",
            hint='write the first one with the header If-Match: "0"',
        )
    return DraftView(
        endpoint,
        row["revision"],
        row["editor"],
        row["at"],
        list(row["editors"]),
        msgspec.convert(row["content"], Draft),
    )


async def write_draft(
    connection: Connection, endpoint: str, draft: Draft, revision: int, user: User
) -> DraftView:
    """The next draft, if ``revision`` is still the newest.

    Raises:
        StaleEditError: somebody else wrote one meanwhile; his is kept.
    """
    await find_endpoint(connection, endpoint)
    await connection.execute(_SQL["lock_endpoint"], endpoint)
    made = await connection.fetchval(
        _SQL["add_draft"], endpoint, revision, msgspec.to_builtins(draft), user.email
    )
    if made is None:
        row = await connection.fetchrow(_SQL["latest_draft"], endpoint)
        newest = f"{row['revision']} by {row['editor']}" if row else "0"
        raise StaleEditError(
            f"expected to change the newest draft ({newest}), got revision {revision}",
            code="draft.stale",
            hint="read the draft again, put your change on top, and send its ETag",
        )
    await adminlog.note(connection, user.email, "draft.write", endpoint, revision=made)
    return await read_draft(connection, endpoint)


def parse_revision(if_match: str | None) -> int:
    """The revision in an If-Match header.

    Raises:
        PreconditionError: there is none, or it is not one of ours.
    """
    text = (if_match or "").strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise PreconditionError(
            "expected an If-Match header with the ETag of the draft",
            hint='GET the draft first; a first draft has If-Match: "0"',
        )
    return int(text)


async def check_draft(connection: Connection, endpoint: str) -> tuple[DraftView, Parts]:
    """The newest draft, compiled and analysed, with the contract check and the gate of cost."""
    view = await read_draft(connection, endpoint)
    parts = await assemble(connection, view.draft)
    parts.findings.extend(await against_live(connection, endpoint, view.draft, parts))
    slo = (await find_endpoint(connection, endpoint))["slo"]
    parts.findings.extend(await cost_findings(connection, slo, parts.routes, parts.models))
    return view, parts


def findings_of(parts: Parts) -> Findings:
    """What a check answers, worst first."""
    order = {"error": 0, "warning": 1, "note": 2}
    return Findings(not parts.errors, sorted(parts.findings, key=lambda f: order[f.level]))
