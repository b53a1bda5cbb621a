"""Routing keys: 256 random bits, shown once, stored as SHA-256, replaced with an overlap."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection
from control_plane.endpoints.drafts import find_endpoint
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity.sessions import hash_token, make_token
from control_plane.identity.user import User
from control_plane.keys.schemas import KeyLimits, KeyRow, MadeKey, NewKey, Rotation
from control_plane.paging import Page, page_of, read_cursor

_SQL = sql.load("control_plane.keys")

PREFIX = "ilk_"
HINT_CHARS = 8
"""Characters kept so that people can tell keys apart; they give 24 of 256 bits away."""
ACTIONS = ("predict", "stream", "outcomes", "metrics")
_LAST = (datetime.fromisoformat("9999-01-01T00:00:00+00:00"), UUID(int=2**128 - 1))


async def create(connection: Connection, wanted: NewKey, user: User) -> MadeKey:
    """A new key.

    Raises:
        NotFoundError: no such endpoint.
        InvalidError: ``key.expired``, ``key.action``, ``key.burst``.
    """
    await find_endpoint(connection, wanted.endpoint)
    _check_limits(wanted.limits)
    _check(wanted.expires_at, wanted.actions)
    made = await _insert(connection, wanted, user, None)
    await adminlog.note(
        connection, user.email, "key.create", str(made.id), endpoint=wanted.endpoint,
        name=wanted.name, expires_at=wanted.expires_at,
    )  # fmt: skip
    return made


async def rotate(connection: Connection, key: UUID, how: Rotation, user: User) -> MadeKey:
    """A successor with the same scope; the old key ends after the overlap.

    Raises:
        NotFoundError: no such key.
        ConflictError: ``key.revoked``.
    """
    row = await _find(connection, key)
    if row["revoked_at"] is not None:
        raise ConflictError("this key was revoked", code="key.revoked", hint="make a new key")
    _check(how.expires_at, list(row["actions"]))
    limits = KeyLimits(row["rate_per_s"], row["burst"], row["in_flight"])
    wanted = NewKey(row["endpoint"], row["name"], how.expires_at, list(row["actions"]), limits)
    made = await _insert(connection, wanted, user, key)
    await connection.execute(_SQL["shorten_key"], key, float(how.overlap_s))
    await adminlog.note(
        connection, user.email, "key.rotate", str(key), successor=made.id, overlap_s=how.overlap_s
    )
    return made


async def revoke(connection: Connection, key: UUID, user: User) -> None:
    """End a key now.

    Raises:
        NotFoundError: no such live key.
    """
    endpoint = await connection.fetchval(_SQL["revoke_key"], key)
    if endpoint is None:
        raise NotFoundError("there is no such live key", code="key.unknown")
    await adminlog.note(connection, user.email, "key.revoke", str(key), endpoint=endpoint)


async def limit(connection: Connection, key: UUID, limits: KeyLimits, user: User) -> None:
    """Replace the limits of a key; routers follow within their poll.

    Raises:
        NotFoundError: no such live key.
        InvalidError: ``key.burst``.
    """
    _check_limits(limits)
    endpoint = await connection.fetchval(
        _SQL["limit_key"], key, limits.rate_per_s, limits.burst, limits.in_flight
    )
    if endpoint is None:
        raise NotFoundError("there is no such live key", code="key.unknown")
    await adminlog.note(
        connection, user.email, "key.limit", str(key), endpoint=endpoint,
        rate_per_s=limits.rate_per_s, burst=limits.burst, in_flight=limits.in_flight,
    )  # fmt: skip


async def listing(connection: Connection, endpoint: str, cursor: str, limit: int) -> Page[KeyRow]:
    """Keys without their secrets, newest first."""
    before = read_cursor(cursor, datetime, UUID) if cursor else _LAST
    rows = await connection.fetch(_SQL["list_keys"], endpoint, *before, limit + 1)
    return page_of(rows, limit, lambda r: KeyRow(**r), lambda r: (r["created_at"], r["id"]))


async def _insert(
    connection: Connection, wanted: NewKey, user: User, replaces: UUID | None
) -> MadeKey:
    secret = make_token(PREFIX)
    key: UUID = await connection.fetchval(
        _SQL["add_key"],
        wanted.name,
        wanted.endpoint,
        wanted.actions,
        hash_token(secret),
        secret[:HINT_CHARS],
        user.email,
        wanted.expires_at,
        replaces,
        wanted.limits.rate_per_s,
        wanted.limits.burst,
        wanted.limits.in_flight,
    )
    return MadeKey(key, secret, wanted.endpoint, wanted.name, wanted.expires_at, replaces)


async def _find(connection: Connection, key: UUID) -> Any:
    row = await connection.fetchrow(_SQL["find_key"], key)
    if row is None:
        raise NotFoundError("there is no such key", code="key.unknown")
    return row


def _check_limits(limits: KeyLimits) -> None:
    if limits.burst is not None and limits.rate_per_s is None:
        raise InvalidError(
            "expected a rate with a burst, got only the burst", code="key.burst", at="rate_per_s"
        )


def _check(expires_at: datetime | None, actions: list[str]) -> None:
    if expires_at is not None:
        if expires_at.tzinfo is None:
            raise InvalidError("expected a time with a zone", code="time.zone", at="expires_at")
        if expires_at <= datetime.now(UTC):
            raise InvalidError(
                f"expected a time to come, got {expires_at}", code="key.expired", at="expires_at"
            )
    for action in actions:
        if action not in ACTIONS:
            raise InvalidError(
                f"expected one of {', '.join(ACTIONS)}, got {action!r}",
                code="key.action",
                at="actions",
            )
