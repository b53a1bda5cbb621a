"""Acts on the evidence that change no record: open, erase, explain, keep for how long."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec

from control_plane import adminlog
from control_plane.audit import store
from control_plane.audit.schemas import (
    Erasure,
    Explanation,
    NewErasure,
    NewPolicy,
    Policy,
    Revealed,
)
from control_plane.audit.service import find_subject
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.errors import ConflictError, NotFoundError, UnavailableError
from control_plane.identity.user import User
from control_plane.settings import ControlSettings
from serving.audit.seal import MasterKey, SealingError
from serving.audit.sealing import erase as destroy
from serving.audit.sealing import reveal as open_sealed

_SQL = sql.load("control_plane.audit")
DONE = frozenset({"ok", "mismatch"})
"""Explanations that need no second attempt."""


def unknown(record: UUID) -> NotFoundError:
    """The error for a record that is not there."""
    return NotFoundError(
        f"there is no record {record}",
        code="record.unknown",
        hint="a decision of the last seconds may not have been shipped yet",
    )


async def reveal(
    connection: Connection, settings: ControlSettings, user: User, record: UUID, reason: str
) -> Revealed:
    """A record's features in the clear; who read them, and why, is an event of the record.

    Raises:
        NotFoundError: no such record.
        UnavailableError: this process does not have the master key.
        ConflictError: a key or a value is damaged.
    """
    row = await connection.fetchrow(_SQL["features"], record, *store.window_of(record))
    if row is None:
        raise unknown(record)
    master = await _master(settings)
    try:
        raw = await open_sealed(
            connection, master, record.bytes, row["features"], actor=user.email, reason=reason
        )
    except SealingError as error:
        raise ConflictError(error.message, code=error.code, at=str(record)) from error
    await adminlog.note(connection, user.email, "audit.reveal", str(record), reason=reason)
    features = store.decode(raw)
    closed = [name for name, value in features.items() if _is_sealed(value)]
    return Revealed(record, features, closed)


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and "$sealed" in value


async def _master(settings: ControlSettings) -> MasterKey:
    if settings.master_key is None:
        raise UnavailableError(
            "sensitive values cannot be opened: the master key is not there",
            code="master.key",
            hint="set INTERLOCK_MASTER_KEY",
        )
    return await asyncio.to_thread(MasterKey.load, settings.master_key)


async def erase(
    connection: Connection, settings: ControlSettings, user: User, data: NewErasure
) -> Erasure:
    """Destroy the keys of a person; sealed values about him stay sealed for ever.

    Raises:
        ConflictError: a legal hold is on records about the person.
        UnavailableError: this process does not have the key of the references.
    """
    reference = await find_subject(settings, data.subject)
    try:
        keys = await destroy(connection, reference, actor=user.email, reason=data.reason)
    except SealingError as error:
        raise ConflictError(
            error.message, code=error.code, hint="a hold goes before erasure; lift it first"
        ) from error
    await adminlog.note(
        connection, user.email, "audit.erase", reference, reason=data.reason, keys=keys
    )
    return Erasure(reference, keys)


async def explain(connection: Connection, user: User, record: UUID) -> Explanation:
    """The explanation of a record; when there is none yet, the explainer is asked for it.

    Raises:
        NotFoundError: no such record.
    """
    row = await connection.fetchrow(_SQL["features"], record, *store.window_of(record))
    if row is None:
        raise unknown(record)
    found = await store.explanation(connection, record)
    if found is not None and found.state in DONE:
        return found
    await connection.execute(_SQL["ask_explanation"], record, row["received_at"], user.email)
    await adminlog.note(connection, user.email, "audit.explain", str(record))
    return Explanation("pending")


async def set_policy(
    connection: Connection, user: User, retention_class: str, data: NewPolicy
) -> Policy:
    """Say how long a class is kept from now on."""
    policy = Policy(retention_class, data.keep_days, data.reason, data.legal_hold)
    await connection.execute(
        _SQL["set_policy"], retention_class, data.keep_days, data.reason, data.legal_hold
    )
    await adminlog.note(
        connection, user.email, "audit.retention", retention_class, **msgspec.to_builtins(data)
    )
    return policy
