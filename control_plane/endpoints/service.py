"""Into service and out of it: activation, rollback, the kill switch.

Whatever stands in the database is proved again here, from the root key and the digests, with the
same code that every router uses: an edited row is refused before it is published.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from compiler.errors import AppError, Problem
from compiler.identity import Trust
from compiler.package import Manifest
from compiler.signing import KeyPair, peek, sign
from compiler.statements import (
    RELEASE,
    ModelApproval,
    ReleaseApproval,
    ReleaseStatement,
    decode_statement,
    encode_statement,
    parse_time,
)
from control_plane import adminlog
from control_plane.approvals.service import POLICIES
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.assemble import READY, read_manifest
from control_plane.endpoints.contract import broken_promises
from control_plane.endpoints.drafts import find_endpoint
from control_plane.endpoints.releases import FindingsError, find_release
from control_plane.endpoints.schemas import ScheduledRow, Serving
from control_plane.errors import ConflictError, ForbiddenError, NotFoundError
from control_plane.identity.roster import current_trust
from control_plane.identity.user import User
from control_plane.registry.service import add_event, bounded
from router.release.spec import ModelRef, ReleaseBundle, ReleaseContent
from router.release.verify import verify_model_approval, verify_release

_SQL = sql.load("control_plane.endpoints")


class ProofError(ForbiddenError):
    """A proof of the release does not hold; somebody changed what was approved."""

    code = "release.proof"


async def activate(
    connection: Connection, release: UUID, user: User, *, root: bytes, releaser: KeyPair
) -> Serving:
    """Put an approved release into service, at once or from its date.

    Raises:
        ConflictError: ``release.not_approved``, ``release.outdated`` (a later one serves),
            ``model.not_approved``, ``approval.expired``.
        FindingsError: it would break the promise of what serves now.
        ProofError: a signature, digest or approval does not hold.
    """
    row = await find_release(connection, release)
    endpoint: str = row["endpoint"]
    await connection.execute(_SQL["lock_endpoint"], endpoint)
    if row["state"] not in ("approved", "activated"):
        raise ConflictError(
            f"release {row['number']} of {endpoint} is {row['state']}, not approved",
            code="release.not_approved",
            hint="somebody who neither proposed nor edited it has to approve it",
        )
    live = await connection.fetchrow(_SQL["serving_content"], endpoint)
    if live is not None:
        if live["number"] >= row["number"]:
            raise ConflictError(
                f"release {live['number']} serves already, {row['number']} is older",
                code="release.outdated",
                hint="roll back to it, or propose it again",
            )
        before = msgspec.json.decode(bytes(live["content"]), type=ReleaseContent)
        after = msgspec.json.decode(bytes(row["content"]), type=ReleaseContent)
        broken = broken_promises(before, after)
        if broken:
            raise FindingsError(
                [Problem(f.code, f.message, f.at) for f in broken],
                message="the release breaks the promise of the one in service",
                code="release.findings",
            )
    trust = await current_trust(connection, root)
    bundle = await _prove(connection, row, trust, releaser, judge_dates=True)
    await connection.execute(_SQL["add_bundle"], release, msgspec.msgpack.encode(bundle))
    await connection.execute(_SQL["add_release_event"], release, "activated", user.email, "")
    answer = await _switch(
        connection, endpoint, "activate", release, user, valid_from=row["effective_from"]
    )
    await adminlog.note(
        connection,
        user.email,
        "release.activate",
        f"{endpoint}/{row['number']}",
        digest=row["digest"],
        valid_from=answer.valid_from,
    )
    return answer


async def rollback(
    connection: Connection,
    endpoint: str,
    number: int,
    user: User,
    *,
    reason: str,
    root: bytes,
    releaser: KeyPair,
) -> Serving:
    """Return to a release that served before; one person is enough.

    Its approvals were judged when it was activated and are not judged by date again; a revoked
    key or a terminated model still stops it.

    Raises:
        NotFoundError: no such release.
        ConflictError: ``release.never_active``, ``release.serving``, ``model.not_approved``.
        ProofError: a proof does not hold any more.
    """
    await find_endpoint(connection, endpoint)
    await connection.execute(_SQL["lock_endpoint"], endpoint)
    row = await connection.fetchrow(_SQL["find_release_number"], endpoint, bounded(number))
    if row is None:
        raise NotFoundError(f"{endpoint} has no release {number}", code="release.unknown")
    live = await connection.fetchrow(_SQL["serving"], endpoint)
    if live is not None and live["number"] == number:
        raise ConflictError(f"release {number} serves already", code="release.serving")
    if row["state"] != "activated":
        raise ConflictError(
            f"release {number} of {endpoint} never served",
            code="release.never_active",
            hint="activate it instead",
        )
    trust = await current_trust(connection, root)
    await _prove(connection, row, trust, releaser, judge_dates=False)
    answer = await _switch(connection, endpoint, "rollback", row["id"], user, reason=reason)
    await adminlog.note(
        connection, user.email, "release.rollback", f"{endpoint}/{number}", reason=reason
    )
    return answer


async def switch_off(
    connection: Connection, endpoint: str, user: User, *, reason: str, off: bool
) -> Serving:
    """The kill switch: suspend an endpoint, or let it go on with what it served.

    Raises:
        ConflictError: ``endpoint.idle`` (it serves nothing), ``endpoint.suspended``,
            ``endpoint.not_suspended``.
    """
    await find_endpoint(connection, endpoint)
    await connection.execute(_SQL["lock_endpoint"], endpoint)
    live = await connection.fetchrow(_SQL["serving"], endpoint)
    if live is None:
        raise ConflictError(f"{endpoint} serves nothing", code="endpoint.idle")
    is_off = bool(await connection.fetchval(_SQL["switched_off"], endpoint))
    if is_off == off:
        word = "suspended" if off else "not suspended"
        raise ConflictError(
            f"{endpoint} is {word} already" if off else f"{endpoint} is {word}",
            code="endpoint.suspended" if off else "endpoint.not_suspended",
        )
    kind = "suspend" if off else "resume"
    answer = await _switch(connection, endpoint, kind, None, user, reason=reason)
    await adminlog.note(connection, user.email, f"endpoint.{kind}", endpoint, reason=reason)
    return answer


async def _switch(
    connection: Connection,
    endpoint: str,
    kind: str,
    release: UUID | None,
    user: User,
    *,
    reason: str = "",
    valid_from: datetime | None = None,
) -> Serving:
    row = await connection.fetchrow(
        _SQL["add_activation"], endpoint, kind, release, valid_from, user.email, reason
    )
    if release is not None:
        await _mark_models(connection, endpoint, release, user)
    return await serving(connection, endpoint, row["id"], row["valid_from"])


async def serving(
    connection: Connection, endpoint: str, activation: int, valid_from: datetime
) -> Serving:
    """What an endpoint serves now and what is scheduled."""
    live = await connection.fetchrow(_SQL["serving"], endpoint)
    coming = await connection.fetch(_SQL["scheduled"], endpoint)
    return Serving(
        endpoint,
        live["number"] if live else None,
        bool(live and live["suspended"]),
        valid_from,
        activation,
        [ScheduledRow(**entry) for entry in coming],
    )


async def _mark_models(connection: Connection, endpoint: str, release: UUID, user: User) -> None:
    """Versions of the release become deployed; those that nothing serves any more, superseded."""
    rows = await connection.fetch(_SQL["release_models"], release)
    for row in rows:
        if row["state"] in ("approved", "superseded"):
            await add_event(
                connection, row["model"], row["version"], "deployed", user.email,
                detail={"endpoint": endpoint},
            )  # fmt: skip
    used = {(r["model"], r["version"]) for r in await connection.fetch(_SQL["serving_versions"])}
    used |= {(row["model"], row["version"]) for row in rows}
    for row in await connection.fetch(_SQL["deployed_versions"], endpoint):
        if (row["model"], row["version"]) not in used:
            await add_event(
                connection, row["model"], row["version"], "superseded", user.email,
                detail={"endpoint": endpoint},
            )  # fmt: skip


async def _prove(
    connection: Connection, row: Any, trust: Trust, releaser: KeyPair, *, judge_dates: bool
) -> ReleaseBundle:
    """The bundle of a release, after checking every proof in it as a router would."""
    release = row["id"]
    routing = await connection.fetch(_SQL["release_envelopes"], release)
    models = await connection.fetch(_SQL["release_models"], release)
    envelopes = await connection.fetch(_SQL["model_envelopes"], release)
    statement = ReleaseStatement(row["endpoint"], row["number"], row["digest"])
    if judge_dates:
        routing = [entry for entry in routing if _holds(entry, ReleaseApproval)]
        envelopes = [entry for entry in envelopes if _holds(entry, ModelApproval)]
        _demand_current(row, models, routing, envelopes)
    bundle = ReleaseBundle(
        content=bytes(row["content"]),
        signature=sign(RELEASE, encode_statement(statement), releaser),
        approvals=tuple(bytes(entry["envelope"]) for entry in routing),
        model_approvals=tuple(bytes(entry["envelope"]) for entry in envelopes),
    )
    try:
        content, _ = verify_release(bundle, trust, endpoint=row["endpoint"], number=row["number"])
        stored = {entry["model"]: entry for entry in models}
        for ref in content.models:
            entry = stored.get(ref.name)
            _check_state(ref, entry)
            assert entry is not None
            raw = bytes(entry["manifest"])
            read_manifest(raw, ref.package)
            manifest = msgspec.json.decode(raw, type=Manifest)
            verify_model_approval(bundle.model_approvals, trust, ref, manifest)
    except (ConflictError, ProofError):
        raise
    except AppError as error:
        raise ProofError(
            f"release {row['number']} of {row['endpoint']} cannot be proved: {error.message}",
            code=error.code if error.code.startswith("release.") else "release.proof",
            at=error.at,
            hint=error.hint,
        ) from error
    return bundle


def _check_state(ref: ModelRef, entry: Any) -> None:
    """Stop at a version that may not serve, or whose stored package is another one."""
    if entry is None or (entry["version"], entry["package"]) != (ref.version, ref.package):
        raise ProofError(f"the stored package of {ref.name} is not the approved one")
    if entry["state"] not in READY:
        raise ConflictError(
            f"{ref.name} version {ref.version} is {entry['state']}, not approved",
            code="model.not_approved",
            hint="a manager who did not work on it has to approve it",
        )


def _holds(entry: Any, kind: type[ReleaseApproval | ModelApproval]) -> bool:
    """Whether an approval has not run out; its own words count, not the columns beside it."""
    signed = decode_statement(peek(bytes(entry["envelope"]))[1], kind)
    return parse_time(signed.expires_at) > datetime.now(UTC)


def _demand_current(row: Any, models: Any, routing: Any, envelopes: Any) -> None:
    """Stop when what is left after the dates does not meet the policies any more."""
    expired = [] if routing else ["the routing"]
    for model in models:
        mine = [
            entry
            for entry in envelopes
            if (entry["model"], entry["version"]) == (model["model"], model["version"])
        ]
        given = {entry["role"] for entry in mine}
        wanted = len(POLICIES["high"]) if any(e["tier"] == "high" for e in mine) else 1
        if len(given) < wanted and model["state"] in READY:
            expired.append(f"{model['model']} version {model['version']}")
    if expired:
        raise ConflictError(
            f"the approval of {' and of '.join(expired)} has expired",
            code="approval.expired",
            at=f"{row['endpoint']}/{row['number']}",
            hint="submit the version again, or propose the release again",
        )


async def load_releaser(path: Path) -> KeyPair:
    """The key that signs releases.

    Raises:
        KeyFileError: it cannot be read, or others can read it.
    """
    return await asyncio.to_thread(KeyPair.load, path)
