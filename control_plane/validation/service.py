"""Decisions about validation: of what, on which rows, against which gates."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec

from control_plane import adminlog
from control_plane.datasets import service as datasets
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.user import User
from control_plane.jobs import service as jobs
from control_plane.paging import Page, TimeCursor, check_limit, decode_cursor, encode_cursor
from control_plane.registry import service as registry
from control_plane.validation import store
from control_plane.validation.schemas import Gates, NewValidation, Validation


class _Head(msgspec.Struct):
    """What is read of a version's manifest."""

    lineage: dict[str, object]


async def start(connection: Connection, user: User, asked: NewValidation) -> Validation:
    """Queue a validation inside a transaction.

    Raises:
        NotFoundError: no such version, dataset or snapshot.
        ConflictError: the version has no package, or does not say what it was trained on.
        InvalidError: a threshold outside 0 to 1.
    """
    if asked.threshold is not None and not 0 < asked.threshold < 1:
        raise InvalidError(
            f"expected a threshold between 0 and 1, got {asked.threshold}",
            code="validation.threshold",
            at="threshold",
        )
    version = await registry.find_version(connection, asked.model, asked.version)
    if version["manifest"] is None:
        raise ConflictError(
            f"{asked.model} version {asked.version} has no package yet", code="model.no_package"
        )
    lineage = msgspec.json.decode(version["manifest"], type=_Head).lineage
    dataset = asked.dataset or str(lineage.get("dataset", ""))
    which = asked.snapshot or str(lineage.get("snapshot", ""))
    if not dataset or not which:
        raise ConflictError(
            "this version does not say what it was trained on",
            code="validation.lineage",
            hint="name a dataset and a snapshot",
        )
    snapshot = await datasets.find_snapshot(connection, dataset, which)
    validation = uuid4()
    facts = {
        "model": asked.model,
        "version": asked.version,
        "package": version["package_digest"],
        "dataset": dataset,
        "snapshot": snapshot.digest,
        "options": {"threshold": asked.threshold},
        "created_by": user.email,
    }
    payload = {"validation": str(validation), **facts}
    job, _ = await jobs.enqueue(connection, "validate", payload, created_by=user.email)
    await store.add(connection, validation, job, facts)
    await adminlog.note(
        connection, user.email, "validation.start", f"{asked.model}/{asked.version}",
        validation=str(validation), snapshot=snapshot.digest,
    )  # fmt: skip
    return await find(connection, validation)


async def find(connection: Connection, validation: UUID) -> Validation:
    """A validation by its id.

    Raises:
        NotFoundError: there is none.
    """
    found = await store.one(connection, validation)
    if found is None:
        raise NotFoundError(f"there is no validation {validation}", code="validation.unknown")
    return found


async def listing(
    connection: Connection, *, model: str | None, version: int | None, cursor: str, limit: int
) -> Page[Validation]:
    """A page of validations, newest first.

    Raises:
        InvalidError: not a cursor or limit.
    """
    found = await store.many(
        connection,
        model=model,
        version=version,
        after=decode_cursor(cursor),
        limit=check_limit(limit) + 1,
    )
    if len(found) <= limit:
        return Page(found)
    last = found[limit - 1]
    return Page(found[:limit], encode_cursor(TimeCursor(last.created_at, last.id)))


async def report(connection: Connection, validation: UUID, name: str) -> tuple[str, bytes]:
    """Media type and content of a report.

    Raises:
        NotFoundError: no such validation or report, or not finished yet.
    """
    await find(connection, validation)
    found = await store.report(connection, validation, name)
    if found is None:
        raise NotFoundError(
            f"the validation has no report {name[:80]!r}",
            code="report.unknown",
            hint="predictions, fairness, drift, explanations or page; when it has finished",
        )
    return found


async def set_gates(connection: Connection, user: User, model: str, wanted: Gates) -> Gates:
    """Set what a model's versions must reach, from now on.

    Raises:
        NotFoundError: no such model.
        InvalidError: a limit that is no number.
    """
    registry.check_name(model)
    before = await store.gates(connection, model)
    if await connection.fetchval("SELECT 1 FROM models WHERE name = $1", model) is None:
        raise NotFoundError(f"there is no model {model!r}", code="model.unknown")
    await store.set_gates(connection, model, wanted, user.email)
    await adminlog.note(
        connection, user.email, "gates.set", model,
        before=msgspec.to_builtins(before), after=msgspec.to_builtins(wanted),
    )  # fmt: skip
    return wanted
