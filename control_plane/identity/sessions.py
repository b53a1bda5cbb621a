"""Tokens of people and service accounts: made here, stored as SHA-256, resolved per request."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from control_plane.db import sql
from control_plane.db.pool import Pool
from control_plane.errors import NotSignedInError
from control_plane.identity.permissions import effective, spread
from control_plane.identity.user import User

_SQL = sql.load("control_plane.identity")

SESSION_PREFIX = "ils_"
SERVICE_PREFIX = "ilt_"


def make_token(prefix: str) -> str:
    """A new secret of 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """What is stored of a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def resolve(pool: Pool, token: str) -> User:
    """The user behind a token.

    Raises:
        NotSignedInError: the token is unknown, expired or revoked, or its user is locked out.
    """
    query = "find_token" if token.startswith(SERVICE_PREFIX) else "find_session"
    async with pool.connection() as connection:
        row = await connection.fetchrow(_SQL[query], hash_token(token))
    if row is None:
        raise NotSignedInError(
            "this session is unknown, ended or revoked",
            code="session.unknown",
            hint="log in again: POST /api/login, or: interlock login",
        )
    return user_of(row)


def user_of(row: Any) -> User:
    """A user with the permissions that hold now."""
    held = effective(row["role"], frozenset(row["allowed"]), frozenset(row["denied"]))
    scope = row["scope"]
    if scope is not None:
        held &= spread(frozenset(scope))
    return User(row["id"], row["email"], row["name"], row["role"], row["kind"], held)
