"""Models and versions: numbers reserved once, packages bound to them for good, states as events.

A version's number is reserved before training starts, so that a failed run leaves a gap and never
a number used twice. Everything a version becomes is an appended event; the moves that are allowed
are rows of ``model_moves`` and checked by a trigger.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import InvalidError, NotFoundError
from control_plane.identity.user import User

_SQL = sql.load("control_plane.registry")
_canonical = msgspec.json.Encoder(order="sorted")

JSON = "application/json"

REPORTS: dict[str, tuple[str, ...]] = {
    "metrics": ("metrics", "output"),
    "parity": ("parity", "min_rows"),
    "lineage": ("lineage", "recipe", "contributors"),
}
"""Reports that every package brings: name -> fields of its manifest."""


class PackageMismatchError(InvalidError):
    """The manifest is not the one of this package digest, model and version."""

    code = "package.mismatch"


class _Head(Struct):
    """What the registry itself reads of a manifest."""

    name: str
    version: int
    contributors: tuple[str, ...]


async def reserve_version(connection: Connection, model: str, user: User | str) -> int:
    """The next version number of a model, reserved for good; makes the model on first use.

    Args:
        connection: inside a transaction.
        model: ``[a-z][a-z0-9_-]{0,62}``.
        user: who makes the version (an account or its e-mail); he is its first contributor.

    Raises:
        InvalidError: not a model name.
    """
    actor = user if isinstance(user, str) else user.email
    check_name(model)
    await connection.execute(_SQL["lock_model"], model)
    await connection.execute(_SQL["add_model"], model, actor)
    version = int(await connection.fetchval(_SQL["add_version"], model, actor))
    await add_contributor(connection, model, version, actor, "trained")
    await add_event(connection, model, version, "draft", actor)
    await adminlog.note(connection, actor, "model.reserve", f"{model}/{version}")
    return version


async def register_package(  # noqa: PLR0917 - the six facts of one registration
    connection: Connection,
    model: str,
    version: int,
    digest: str,
    manifest: bytes | dict[str, Any],
    run_id: UUID | str | None = None,
) -> None:
    """Bind a built package to a reserved version, with its reports; the version is validated.

    Args:
        connection: inside a transaction.
        model: name.
        version: number from :func:`reserve_version`.
        digest: ``sha256:<hex>`` of the manifest's canonical bytes.
        manifest: those bytes, or the document they stand for.
        run_id: the training run, when there was one.

    Raises:
        NotFoundError: the version was never reserved.
        PackageMismatchError: the manifest has another digest, name or version.
        ConflictError: the version has a package already, or its state does not allow one.
    """
    raw = manifest if isinstance(manifest, bytes) else _canonical.encode(manifest)
    found = "sha256:" + hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise PackageMismatchError(f"expected the manifest of {digest}, got one of {found}")
    try:
        head = msgspec.json.decode(raw, type=_Head)
        document: dict[str, Any] = msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        raise PackageMismatchError(f"not a manifest: {error}") from error
    if (head.name, head.version) != (model, version):
        raise PackageMismatchError(
            f"expected a package of {model} version {version}, got {head.name} {head.version}"
        )
    row = await find_version(connection, model, version)
    actor: str = row["created_by"]
    run = UUID(run_id) if isinstance(run_id, str) else run_id
    await connection.execute(_SQL["add_package"], model, version, digest, raw, run)
    for person in head.contributors:
        await add_contributor(connection, model, version, person, "named in the package")
    for name, fields in REPORTS.items():
        content = {field: document.get(field) for field in fields}
        await add_report(
            connection,
            model,
            version,
            name,
            media_type=JSON,
            content=_canonical.encode({"package": digest} | content),
        )
    await add_event(connection, model, version, "validated", actor, detail={"package": digest})
    await adminlog.note(
        connection, actor, "model.register", f"{model}/{version}", package=digest, run=run
    )


async def add_report(
    connection: Connection, model: str, version: int, name: str, *, media_type: str, content: bytes
) -> str:
    """Attach a report to a version before it is submitted; answers its digest.

    Every approver has to open every report, and his statement names their digests.
    """
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    await connection.execute(_SQL["add_report"], model, version, name, digest, media_type, content)
    return digest


async def add_contributor(
    connection: Connection, model: str, version: int, person: str, how: str
) -> None:
    """Say that somebody worked on a version: he can never approve it."""
    await connection.execute(_SQL["add_contributor"], model, version, person, how)


async def add_event(
    connection: Connection,
    model: str,
    version: int,
    state: str,
    actor: str,
    *,
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Move a version to a state.

    Raises:
        ConflictError: ``model.state``: its present state does not allow that.
    """
    await connection.execute(_SQL["add_event"], model, version, state, actor, reason, detail or {})


async def find_version(connection: Connection, model: str, version: int) -> Any:
    """The row of a version.

    Raises:
        NotFoundError: no such version.
    """
    row = await connection.fetchrow(_SQL["find_version"], model, bounded(version))
    if row is None:
        raise NotFoundError(
            f"there is no version {version} of model {model!r}",
            code="model.unknown",
            hint="GET /api/models lists what there is",
        )
    return row


def bounded(number: int) -> int:
    """A number that fits a database integer; anything else names nothing."""
    return number if 0 <= number < 2**31 else 0


def check_name(name: str) -> None:
    """Stop at a name that cannot be a model's or endpoint's.

    Raises:
        InvalidError: ``name.invalid``.
    """
    text = name if len(name) <= 63 else ""
    if (
        not text
        or not text[0].isascii()
        or not text[0].islower()
        or not all(
            letter.isascii() and (letter.islower() or letter.isdigit() or letter in "_-")
            for letter in text
        )
    ):
        raise InvalidError(
            f"expected a name of lower-case letters, digits, _ and -, got {name[:80]!r}",
            code="name.invalid",
            hint="start with a letter; at most 63 characters",
        )
