"""Model approval: submitted by who made it, read and signed by somebody who did not.

The same rules stand three times: here, in a trigger of the database, and in the signature that
every router checks. Here they are worded for people.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from compiler.signing import b64
from compiler.statements import MODEL_APPROVAL, ModelApproval, encode_statement, format_time
from control_plane import adminlog
from control_plane.approvals.evidence import check_dates, check_signer, expect
from control_plane.approvals.schemas import Standing, StatementToSign
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, ForbiddenError
from control_plane.identity.roster import current_trust
from control_plane.identity.user import User
from control_plane.registry.service import add_contributor, add_event, find_version

_SQL = sql.load("control_plane.approvals")

POLICIES: dict[str, tuple[str, ...]] = {
    "low": ("manager",),
    "standard": ("manager",),
    "high": ("manager", "compliance_manager"),
}
"""Roles that have to approve, by the model's tier; in low and standard either role counts."""


def policy_words(tier: str) -> str:
    """The approval rule of a tier as it is written into statements."""
    if tier == "high":
        return "high: a manager and a compliance manager who did not contribute"
    return f"{tier}: a manager or compliance manager who did not contribute"


async def submit(
    connection: Connection, model: str, version: int, user: User, note: str
) -> Standing:
    """Ask for approval; the submitter becomes a contributor.

    Raises:
        ConflictError: ``model.state``, ``model.no_package``.
    """
    await find_version(connection, model, version)
    await add_contributor(connection, model, version, user.email, "submitted")
    await add_event(connection, model, version, "submitted", user.email, reason=note)
    await adminlog.note(connection, user.email, "model.submit", f"{model}/{version}")
    return await standing(connection, model, version)


async def statement(
    connection: Connection, model: str, version: int, user: User, days: int
) -> StatementToSign:
    """What this person would sign to approve a version.

    Raises:
        ConflictError: ``approval.not_submitted``, ``approval.report_unread``.
        ForbiddenError: ``approval.own_work``.
    """
    row = await _open_version(connection, model, version, user)
    await _demand_read(connection, model, version, user)
    now = datetime.now(UTC)
    reports = await connection.fetch(_SQL["report_digests"], model, version)
    wanted = ModelApproval(
        package=row["package_digest"],
        model=model,
        version=version,
        reports=tuple(report["digest"] for report in reports),
        policy=policy_words(row["tier"]),
        approver=user.email,
        issued_at=format_time(now),
        expires_at=format_time(now + timedelta(days=days)),
    )
    return StatementToSign(MODEL_APPROVAL, b64(encode_statement(wanted)))


async def approve(
    connection: Connection,
    model: str,
    version: int,
    user: User,
    *,
    envelope: bytes,
    root: bytes,
    days: int,
) -> Standing:
    """Take a signed approval; with the last one that is needed the version is approved.

    Raises:
        ForbiddenError: ``approval.own_work``, ``approval.signer``, ``approval.service_account``.
        ConflictError: ``approval.not_submitted``, ``approval.report_unread``,
            ``approval.replayed``.
        InvalidError: ``approval.altered``, ``approval.expired``.
        SignatureError: the signature does not hold.
    """
    row = await _open_version(connection, model, version, user)
    await _demand_read(connection, model, version, user)
    trust = await current_trust(connection, root)
    signed, key = check_signer(envelope, trust, user, MODEL_APPROVAL, ModelApproval)
    reports = await connection.fetch(_SQL["report_digests"], model, version)
    expect("package", row["package_digest"], signed.package)
    expect("model", model, signed.model)
    expect("version", version, signed.version)
    expect("reports", sorted(r["digest"] for r in reports), sorted(signed.reports))
    expect("policy", policy_words(row["tier"]), signed.policy)
    issued, expires = check_dates(signed, row["state_at"], timedelta(days=days))
    await connection.execute(
        _SQL["add_approval"],
        model,
        version,
        user.email,
        user.role,
        key,
        signed.package,
        list(signed.reports),
        signed.policy,
        envelope,
        issued,
        expires,
    )
    if not await missing_roles(connection, model, version, row["tier"]):
        await add_event(connection, model, version, "approved", user.email)
    await adminlog.note(
        connection, user.email, "model.approve", f"{model}/{version}", key=key, expires=expires
    )
    return await standing(connection, model, version)


async def turn_down(
    connection: Connection, model: str, version: int, user: User, *, state: str, reason: str
) -> Standing:
    """Judge a submitted version without approving it: ``rejected`` or ``changes_requested``."""
    await _open_version(connection, model, version, user)
    await add_event(connection, model, version, state, user.email, reason=reason)
    await adminlog.note(
        connection, user.email, f"model.{state}", f"{model}/{version}", reason=reason
    )
    return await standing(connection, model, version)


async def end(
    connection: Connection, model: str, version: int, user: User, *, state: str, reason: str
) -> Standing:
    """End a version: ``retired``, or ``terminated``, which stops what serves it at once."""
    await find_version(connection, model, version)
    await add_event(connection, model, version, state, user.email, reason=reason)
    await adminlog.note(
        connection, user.email, f"model.{state}", f"{model}/{version}", reason=reason
    )
    return await standing(connection, model, version)


async def standing(connection: Connection, model: str, version: int) -> Standing:
    """Where a version stands."""
    row = await find_version(connection, model, version)
    missing = []
    if row["state"] == "submitted":
        missing = await missing_roles(connection, model, version, row["tier"])
    return Standing(model, version, row["state"], row["state_at"], missing)


async def missing_roles(connection: Connection, model: str, version: int, tier: str) -> list[str]:
    """Roles whose approval the policy still asks for."""
    rows = await connection.fetch(_SQL["approval_roles"], model, version)
    have = {row["role"] for row in rows}
    if tier != "high":
        return [] if have else ["manager or compliance_manager"]
    return [role for role in POLICIES["high"] if role not in have]


async def _open_version(connection: Connection, model: str, version: int, user: User) -> Any:
    """The row of a submitted version that this person may judge."""
    row = await find_version(connection, model, version)
    if user.kind != "person":
        raise ForbiddenError("a service account cannot approve", code="approval.service_account")
    if await connection.fetchval(_SQL["worked_on"], model, version, user.email):
        raise ForbiddenError(
            f"{user.email} contributed to {model} version {version} and cannot judge it",
            code="approval.own_work",
            hint="a manager who did not work on it has to",
        )
    user.demand("models.approve")
    if row["state"] != "submitted":
        raise ConflictError(
            f"expected a submitted version, {model} version {version} is {row['state']}",
            code="approval.not_submitted",
        )
    return row


async def _demand_read(connection: Connection, model: str, version: int, user: User) -> None:
    unread = await connection.fetch(_SQL["unread_reports"], model, version, user.email)
    if unread:
        names = ", ".join(row["name"] for row in unread)
        raise ConflictError(
            f"{user.email} has not opened: {names}",
            code="approval.report_unread",
            hint="open each report first",
        )
