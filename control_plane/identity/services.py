"""Service accounts and their tokens: programs that act for an owner who answers for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection, Pool
from control_plane.errors import ConflictError, InvalidError, NotFoundError
from control_plane.identity import sessions
from control_plane.identity.schemas import (
    MadeToken,
    NewServiceAccount,
    NewToken,
    UserRow,
)
from control_plane.identity.service import SERVICE_DOMAIN, clean_email, shown, unknown, words
from control_plane.identity.user import User

_SQL = sql.load("control_plane.identity")


async def create_account(pool: Pool, wanted: NewServiceAccount, by: User) -> UserRow:
    """A new service account.

    Raises:
        ConflictError: the name is taken.
        InvalidError: the owner is not a person of the same role who can log in.
    """
    email = f"{wanted.name}@{SERVICE_DOMAIN}"
    owner_email = clean_email(wanted.owner)
    async with pool.transaction() as connection:
        owner = await connection.fetchrow(_SQL["find_user"], owner_email)
        if owner is None or owner["kind"] != "person" or owner["disabled_at"] is not None:
            raise InvalidError(
                f"expected a person as owner, got {wanted.owner[:80]!r}", code="service.owner"
            )
        if owner["role"] != wanted.role:
            raise InvalidError(
                f"expected the owner's role {owner['role']}, got {wanted.role}",
                code="service.role",
                hint="a service account never has another role than its owner",
            )
        if await connection.fetchrow(_SQL["find_user"], email) is not None:
            raise ConflictError(f"{email} exists already", code="user.exists")
        row = await connection.fetchrow(
            _SQL["add_user"],
            email,
            wanted.name,
            wanted.role,
            "service",
            owner_email,
            None,
            by.email,
        )
        await adminlog.note(connection, by.email, "service.create", email, owner=owner_email)
    return shown(row)


async def create_token(pool: Pool, email: str, wanted: NewToken, by: User) -> MadeToken:
    """A token, shown once.

    Raises:
        NotFoundError: no such service account.
        InvalidError: a scope that is no permission.
    """
    scope = None if wanted.scope is None else words(wanted.scope)
    token = sessions.make_token(sessions.SERVICE_PREFIX)
    async with pool.transaction() as connection:
        account = await _account(connection, email)
        row = await connection.fetchrow(
            _SQL["add_token"],
            sessions.hash_token(token),
            account,
            wanted.name,
            scope,
            by.email,
            wanted.days,
        )
        await adminlog.note(
            connection, by.email, "service.token", email, token=row["id"], scope=scope
        )
    return MadeToken(row["id"], token, row["expires_at"])


async def list_tokens(
    pool: Pool, email: str, after: tuple[datetime, UUID], limit: int
) -> list[Any]:
    """Rows of a service account's tokens, oldest first, without their secrets."""
    async with pool.connection() as connection:
        account = await _account(connection, email)
        rows: list[Any] = await connection.fetch(_SQL["list_tokens"], account, *after, limit)
    return rows


async def revoke_token(pool: Pool, email: str, token: UUID, by: User) -> None:
    """End a token now.

    Raises:
        NotFoundError: no such live token.
    """
    async with pool.transaction() as connection:
        account = await _account(connection, email)
        if await connection.fetchval(_SQL["revoke_token"], token, account) is None:
            raise NotFoundError("there is no such live token", code="token.unknown")
        await adminlog.note(connection, by.email, "service.revoke", email, token=token)


async def _account(connection: Connection, email: str) -> UUID:
    row = await connection.fetchrow(_SQL["find_user"], email)
    if row is None or row["kind"] != "service":
        raise unknown(email)
    found: UUID = row["id"]
    return found
