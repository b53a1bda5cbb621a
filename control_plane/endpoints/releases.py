r"""Releases: proposed by one person, approved by another, then put into service.

    draft -> proposed -> approved -> activated (again and again, by rollback)
                 \-> rejected

The content is fixed and numbered when it is proposed; what is approved is its digest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from compiler.errors import Problem, ProblemsError
from compiler.signing import b64
from compiler.statements import (
    RELEASE_APPROVAL,
    ReleaseApproval,
    encode_statement,
    format_time,
)
from control_plane import adminlog
from control_plane.approvals.evidence import check_dates, check_signer, expect
from control_plane.approvals.schemas import StatementToSign
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.assemble import Context, content_of, rfc3339
from control_plane.endpoints.drafts import check_draft, find_endpoint
from control_plane.endpoints.schemas import Proposal
from control_plane.errors import ConflictError, ForbiddenError, NotFoundError
from control_plane.identity.roster import current_trust
from control_plane.identity.user import User
from router.release.spec import canonical, digest

_SQL = sql.load("control_plane.endpoints")


class FindingsError(ProblemsError):
    """The draft has findings that stop a release."""

    code = "release.findings"


async def propose(connection: Connection, endpoint: str, proposal: Proposal, user: User) -> UUID:
    """Fix the newest draft as the next release.

    Raises:
        FindingsError: analysis or the contract check found errors that are not waived.
        NotFoundError: no endpoint, no draft.
    """
    await connection.execute(_SQL["lock_endpoint"], endpoint)
    row = await find_endpoint(connection, endpoint)
    view, parts = await check_draft(connection, endpoint)
    stops = [f for f in parts.errors if f.code not in proposal.waivers or not may_waive(f.code)]
    if stops or parts.output is None:
        raise FindingsError(
            [Problem(f.code, f.message, f.at) for f in stops]
            or [Problem("release.no_models", "a release needs at least one model")],
            message="the draft has findings that stop a release",
            code="release.findings",
        )
    number = await connection.fetchval(_SQL["next_number"], endpoint)
    editors = await _with_owners(connection, {*view.editors, user.email})
    effective = proposal.effective_from
    content = content_of(
        view.draft,
        parts,
        Context(
            endpoint=endpoint,
            number=number,
            owner=row["owner"],
            slo=row["slo"],
            justification=_reasoned(proposal),
            proposed_by=user.email,
            editors=tuple(sorted(editors)),
            effective_from=None if effective is None else rfc3339(effective),
            created_at=rfc3339(datetime.now(UTC)),
        ),
    )
    raw = canonical(content)
    release: UUID = await connection.fetchval(
        _SQL["add_release"],
        endpoint,
        number,
        raw,
        digest(raw),
        view.revision,
        user.email,
        list(content.editors),
        content.justification,
        effective,
    )
    await connection.executemany(
        _SQL["add_release_model"],
        [(release, ref.name, ref.version, ref.package) for ref in content.models],
    )
    await connection.execute(
        _SQL["add_release_event"], release, "proposed", user.email, proposal.justification
    )
    await adminlog.note(
        connection,
        user.email,
        "release.propose",
        f"{endpoint}/{number}",
        digest=digest(raw),
        waivers=proposal.waivers,
        waived=[f"{f.code}: {f.message}" for f in parts.errors],
    )
    return release


def may_waive(code: str) -> bool:
    """Whether a finding can be accepted: analysis and gates can, what nothing could serve cannot.

    >>> may_waive("unreachable"), may_waive("gate.cost"), may_waive("contract.dropped")
    (True, True, False)
    """
    return "." not in code or code.startswith("gate.")


def _reasoned(proposal: Proposal) -> str:
    if not proposal.waivers:
        return proposal.justification
    return f"{proposal.justification} [waived: {', '.join(sorted(proposal.waivers))}]"


async def _with_owners(connection: Connection, accounts: set[str]) -> set[str]:
    """These accounts, and who answers for those that are service accounts."""
    rows = await connection.fetch(
        "SELECT owner FROM users WHERE email = ANY ($1) AND owner IS NOT NULL", list(accounts)
    )
    return accounts | {row["owner"] for row in rows}


async def find_release(connection: Connection, release: UUID) -> Any:
    """The row of a release.

    Raises:
        NotFoundError: no such release.
    """
    row = await connection.fetchrow(_SQL["find_release"], release)
    if row is None:
        raise NotFoundError(f"there is no release {release}", code="release.unknown")
    return row


async def statement(
    connection: Connection, release: UUID, user: User, days: int
) -> StatementToSign:
    """What this person would sign to approve a release.

    Raises:
        ForbiddenError: ``approval.own_edit``.
        ConflictError: ``release.state``: it is not proposed.
    """
    row = await _open_release(connection, release, user)
    now = datetime.now(UTC)
    wanted = ReleaseApproval(
        endpoint=row["endpoint"],
        number=row["number"],
        content=row["digest"],
        approver=user.email,
        issued_at=format_time(now),
        expires_at=format_time(now + timedelta(days=days)),
    )
    return StatementToSign(RELEASE_APPROVAL, b64(encode_statement(wanted)))


async def approve(
    connection: Connection, release: UUID, user: User, *, envelope: bytes, root: bytes, days: int
) -> None:
    """Take a signed approval; the release can then be activated.

    Raises:
        ForbiddenError: ``approval.own_edit``, ``approval.signer``, ``approval.service_account``.
        ConflictError: ``release.state``, ``approval.replayed``.
        InvalidError: ``approval.altered``, ``approval.expired``.
        SignatureError: the signature does not hold.
    """
    row = await _open_release(connection, release, user)
    trust = await current_trust(connection, root)
    signed, key = check_signer(envelope, trust, user, RELEASE_APPROVAL, ReleaseApproval)
    expect("endpoint", row["endpoint"], signed.endpoint)
    expect("number", row["number"], signed.number)
    expect("content", digest(bytes(row["content"])), signed.content)
    issued, expires = check_dates(signed, row["at"], timedelta(days=days))
    await connection.execute(
        _SQL["add_release_approval"],
        release,
        user.email,
        key,
        envelope,
        signed.content,
        issued,
        expires,
    )
    await connection.execute(_SQL["add_release_event"], release, "approved", user.email, "")
    await adminlog.note(
        connection,
        user.email,
        "release.approve",
        f"{row['endpoint']}/{row['number']}",
        key=key,
        digest=signed.content,
    )


async def reject(connection: Connection, release: UUID, user: User, reason: str) -> None:
    """Turn a proposed or approved release down for good; the proposer may take his back."""
    row = await find_release(connection, release)
    if user.email != row["proposed_by"]:
        user.demand("releases.approve")
    await connection.execute(_SQL["add_release_event"], release, "rejected", user.email, reason)
    await adminlog.note(
        connection,
        user.email,
        "release.reject",
        f"{row['endpoint']}/{row['number']}",
        reason=reason,
    )


async def _open_release(connection: Connection, release: UUID, user: User) -> Any:
    """The row of a proposed release that this person may judge."""
    row = await find_release(connection, release)
    if user.kind != "person":
        raise ForbiddenError("a service account cannot approve", code="approval.service_account")
    if await connection.fetchval(_SQL["edited"], release, user.email):
        raise ForbiddenError(
            f"{user.email} proposed or edited release {row['number']} of {row['endpoint']} "
            "and cannot approve it",
            code="approval.own_edit",
            hint="a manager or compliance manager who did not edit it has to",
        )
    user.demand("releases.approve")
    if row["state"] != "proposed":
        raise ConflictError(
            f"expected a proposed release, this one is {row['state']}", code="release.state"
        )
    return row


def content_document(row: Any) -> dict[str, Any]:
    """The content of a release as people read it."""
    document: dict[str, Any] = msgspec.json.decode(bytes(row["content"]))
    return document
