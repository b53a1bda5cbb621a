"""Decisions about the compliance setup: who answers, who reviews, what counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from control_plane import adminlog
from control_plane.compliance import evidence, policy
from control_plane.compliance.schemas import (
    Answer,
    NewAnswer,
    NewFinding,
    OpenFinding,
    Profile,
    Score,
    Setup,
)
from control_plane.compliance.score import score
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.user import User
from control_plane.registry import service as registry

_SQL = sql.load("control_plane.compliance")
GENERAL = "general"


async def setup(
    connection: Connection, model: str, version: int, at: datetime | None = None
) -> Setup:
    """Everything about a version's compliance setup, as it was at a time.

    Raises:
        NotFoundError: no such version.
    """
    row = await registry.find_version(connection, model, version)
    at = at or datetime.now(UTC)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    named = await connection.fetchval(_SQL["profile"], model)
    profile = policy.profile(named or GENERAL)
    answers = await newest(connection, model, version, at)
    findings = await open_findings(connection, model, version, at)
    steps = await connection.fetch(_SQL["monitoring"], model, version)
    return Setup(
        model,
        version,
        profile if named else None,
        score(policy.policy(), profile, answers, findings, tier=row["tier"], at=at),
        list(answers.values()),
        findings,
        {step["step"]: {"by": step["actor"], "reason": step["reason"], "at": step["at"]}
         for step in steps},
    )  # fmt: skip


async def newest(
    connection: Connection, model: str, version: int, at: datetime
) -> dict[str, Answer]:
    """The answer that counts for each item."""
    rows = await connection.fetch(_SQL["answers"], model, version, at)
    return {row["item"]: msgspec.convert(dict(row), Answer) for row in rows}


async def open_findings(
    connection: Connection, model: str, version: int, at: datetime
) -> list[OpenFinding]:
    """Findings that were open at a time."""
    rows = await connection.fetch(_SQL["findings"], model, version, at)
    return [msgspec.convert(dict(row), OpenFinding) for row in rows]


async def choose(connection: Connection, user: User, model: str, name: str) -> Profile:
    """Say which profile a model answers to; from now on approval needs a passing score.

    Raises:
        NotFoundError: no such model or profile.
    """
    found = policy.profile(name)
    if await connection.fetchval("SELECT 1 FROM models WHERE name = $1", model) is None:
        raise NotFoundError(f"there is no model {model[:80]!r}", code="model.unknown")
    await connection.execute(_SQL["set_profile"], model, name, user.email)
    await adminlog.note(connection, user.email, "compliance.profile", model, profile=name)
    return found


async def fill(connection: Connection, user: User, model: str, version: int) -> Setup:
    """Answer what the system can answer, and carry people's text over from the version before.

    Carried text counts half until somebody answers again, so that stale prose cannot pass.
    """
    row = await registry.find_version(connection, model, version)
    known = await newest(connection, model, version, datetime.now(UTC))
    for item, (value, digest) in (await evidence.gather(connection, row)).items():
        before = known.get(item)
        if before is None or (before.value, before.evidence) != (value, digest):
            await _add(connection, model, version, item, value, "auto", user.email, digest)
    earlier = await connection.fetchval(_SQL["earlier_version"], model, version)
    if earlier is not None:
        old = await newest(connection, model, earlier, datetime.now(UTC))
        await _carry(connection, model, version, old, known)
    await adminlog.note(connection, user.email, "compliance.fill", f"{model}/{version}")
    return await setup(connection, model, version)


async def _carry(
    connection: Connection, model: str, version: int, old: Mapping[str, Answer],
    known: Mapping[str, Answer],
) -> None:  # fmt: skip
    for item, answer in old.items():
        if answer.source == "human" and item not in known and not answer.not_applicable:
            await _add(
                connection, model, version, item, answer.value, "human", answer.author,
                carried=True,
            )  # fmt: skip


async def _add(  # noqa: PLR0917 - the facts of one answer
    connection: Connection, model: str, version: int, item: str, value: str, source: str,
    author: str, digest: str = "", *, not_applicable: bool = False, carried: bool = False,
) -> int:  # fmt: skip
    days = {
        f"{section.key}.{entry.key}": entry.valid_days
        for section in policy.policy().sections
        for entry in section.items
    }[item]
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    return int(
        await connection.fetchval(
            _SQL["add_answer"], model, version, item, value, source, digest, not_applicable,
            carried, until, author,
        )
    )  # fmt: skip


async def answer(
    connection: Connection, user: User, model: str, version: int, given: NewAnswer
) -> Setup:
    """Take an answer by a person.

    Raises:
        NotFoundError: no such version.
        InvalidError: no such item, nothing said, or evidence that this system does not hold.
    """
    await registry.find_version(connection, model, version)
    if given.item not in policy.items():
        raise InvalidError(
            f"there is no item {given.item[:80]!r}",
            code="compliance.item",
            at="item",
            hint=f"for example {next(iter(policy.items()))}",
        )
    if not given.value.strip():
        raise InvalidError("expected an answer in words", code="compliance.value", at="value")
    if given.evidence and not await connection.fetchval(
        _SQL["knows_digest"], model, version, given.evidence
    ):
        raise InvalidError(
            "expected the digest of this version's package, of a report of it, or of a snapshot",
            code="compliance.evidence",
            at="evidence",
        )
    await _add(
        connection, model, version, given.item, given.value.strip(), "human", user.email,
        given.evidence, not_applicable=given.not_applicable,
    )  # fmt: skip
    await adminlog.note(
        connection, user.email, "compliance.answer", f"{model}/{version}", item=given.item
    )
    return await setup(connection, model, version)


async def review(connection: Connection, user: User, model: str, version: int, item: str) -> Setup:
    """Agree with the newest answer to an item; never with one's own.

    Raises:
        NotFoundError: nobody answered it.
        ForbiddenError: ``compliance.own_answer``.
    """
    found = await connection.fetchval(_SQL["newest_answer"], model, version, item)
    if found is None:
        raise NotFoundError(
            f"item {item[:80]!r} has no answer to review", code="compliance.unanswered"
        )
    await connection.execute(_SQL["add_review"], found, user.email)
    await adminlog.note(
        connection, user.email, "compliance.review", f"{model}/{version}", item=item
    )
    return await setup(connection, model, version)


async def take_score(connection: Connection, user: User, model: str, version: int) -> Score:
    """Compute the score now and keep it; approval looks at the newest one."""
    found = (await setup(connection, model, version)).score
    await connection.execute(
        _SQL["add_score"], model, version, found.status, found.overall,
        msgspec.to_builtins(found), user.email,
    )  # fmt: skip
    await adminlog.note(
        connection, user.email, "compliance.score", f"{model}/{version}",
        overall=found.overall, status=found.status,
    )  # fmt: skip
    return found


async def open_finding(
    connection: Connection, user: User, model: str, version: int, given: NewFinding
) -> Setup:
    """Note a finding; a critical or high one caps its section.

    Raises:
        InvalidError: no such section, or no text.
    """
    await registry.find_version(connection, model, version)
    if given.section not in {s.key for s in policy.policy().sections}:
        raise InvalidError(
            f"there is no section {given.section[:20]!r}", code="compliance.section", at="section"
        )
    if not given.text.strip() or not given.owner.strip():
        raise InvalidError("expected a text and an owner", code="compliance.value", at="text")
    await connection.execute(
        _SQL["add_finding"], model, version, given.section, given.severity, given.text,
        given.owner, given.due, user.email,
    )  # fmt: skip
    await adminlog.note(
        connection, user.email, "compliance.finding", f"{model}/{version}", section=given.section
    )
    return await setup(connection, model, version)


async def close_finding(  # noqa: PLR0917 - the facts of one closing
    connection: Connection, user: User, model: str, version: int, finding: UUID, reason: str
) -> Setup:
    """Close a finding with the reason.

    Raises:
        InvalidError: no reason.
        ConflictError: it is not an open finding of this version.
    """
    if not reason.strip():
        raise InvalidError("expected a reason", code="compliance.value", at="reason")
    done = await connection.fetchval(
        _SQL["close_finding"], finding, model, version, reason, user.email
    )
    if done is None:
        raise ConflictError("this version has no such open finding", code="finding.unknown")
    await adminlog.note(
        connection, user.email, "compliance.close", f"{model}/{version}", finding=str(finding)
    )
    return await setup(connection, model, version)


async def monitor(
    connection: Connection, user: User, model: str, version: int, *, step: str, reason: str
) -> dict[str, Any]:
    """Propose a version for monitoring, or register what somebody else proposed.

    Raises:
        NotFoundError: no such version.
        ConflictError: not proposed, or done before.
        ForbiddenError: ``monitoring.own_proposal``.
    """
    await registry.find_version(connection, model, version)
    if not reason.strip():
        raise InvalidError("expected a reason", code="compliance.value", at="reason")
    await connection.execute(_SQL["add_monitoring"], model, version, step, user.email, reason)
    await adminlog.note(connection, user.email, f"monitoring.{step}", f"{model}/{version}")
    return (await setup(connection, model, version)).monitoring
