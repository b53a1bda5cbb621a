"""People: the first one, logging in, and what a superadmin may change about the others."""

from __future__ import annotations

import asyncio
import hmac
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from control_plane import adminlog
from control_plane.db import sql
from control_plane.db.pool import Connection, Pool
from control_plane.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotSignedInError,
    ThrottledError,
)
from control_plane.identity import sessions
from control_plane.identity.passwords import check_password, hash_password, verify_password
from control_plane.identity.permissions import PERMISSIONS, Role, conflict, covers, effective
from control_plane.identity.schemas import Bootstrap, NewUser, UserChange, UserRow
from control_plane.identity.user import User
from control_plane.settings import LoginSettings

_SQL = sql.load("control_plane.identity")

SERVICE_DOMAIN = "service.internal"
"""Service accounts have addresses here; people never do."""


def clean_email(text: str) -> str:
    """The one form of an e-mail in which accounts are kept and compared.

    Raises:
        InvalidError: not an e-mail.
    """
    email = unicodedata.normalize("NFKC", text).strip().lower()
    local, at, domain = email.partition("@")
    plain = email.isascii() and email.isprintable() and not any(c in " \"'<>\\,;:" for c in email)
    if not at or not local.strip("+") or local.startswith("+") or not domain or not plain:
        raise InvalidError(f"expected an e-mail, got {text[:80]!r}", code="email.invalid")
    if "@" in domain or "." not in domain:
        raise InvalidError(f"expected an e-mail, got {text[:80]!r}", code="email.invalid")
    return email


async def bootstrap(
    pool: Pool, wanted: Bootstrap, token_file: Path, rules: LoginSettings
) -> UserRow:
    """The first superadmin; works once per database.

    Raises:
        ConflictError: ``bootstrap.done``.
        ForbiddenError: ``bootstrap.token``.
        PasswordError: too easy.
    """
    email = person_email(wanted.email)
    async with pool.connection() as connection:
        if await connection.fetchval(_SQL["bootstrap_done"]):
            raise _bootstrapped()
    expected = await asyncio.to_thread(_read_token, token_file)
    if not expected or not hmac.compare_digest(expected.encode(), wanted.token.strip().encode()):
        raise ForbiddenError(
            "expected the one-time token of this installation",
            code="bootstrap.token",
            hint="it is in the file secrets/bootstrap.token of the home",
        )
    check_password(wanted.password, email, rules.min_password)
    hashed = await hash_password(wanted.password)
    first = NewUser(wanted.name, email, "", "superadmin")
    async with pool.transaction() as connection:
        row = await _insert(connection, first, hashed, None)
        if await connection.fetchval(_SQL["claim_bootstrap"], email) is None:
            raise _bootstrapped()
        await adminlog.note(connection, email, "bootstrap", email)
    return row


def _read_token(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def _bootstrapped() -> ConflictError:
    return ConflictError(
        "the first superadmin exists already",
        code="bootstrap.done",
        hint="log in; a superadmin creates the others",
    )


async def log_in(
    pool: Pool, email: str, password: str, address: str, rules: LoginSettings
) -> tuple[str, datetime, UserRow]:
    """Open a session: token, its end, the person.

    Raises:
        ThrottledError: ``login.locked``: too many failures of this e-mail or address.
        NotSignedInError: ``login.failed``, whether or not there is such a person.
    """
    email = unicodedata.normalize("NFKC", email).strip().lower()[:254]
    async with pool.transaction() as connection:
        await connection.execute(_SQL["lock_attempts"], email)
        seen = await connection.fetchrow(_SQL["count_attempts"], email, address, rules.window_s)
        if seen["by_email"] >= rules.free_attempts or seen["by_address"] >= rules.address_attempts:
            raise ThrottledError(
                "too many failed logins; wait before the next one",
                code="login.locked",
                retry_after_s=rules.window_s,
                hint="a superadmin can unlock the account",
            )
        await connection.execute(_SQL["note_attempt"], email, address)
        row = await connection.fetchrow(_SQL["find_user"], email)
    known = row is not None and row["disabled_at"] is None
    if not await verify_password(password, row["password_hash"] if known else None):
        raise NotSignedInError("e-mail or password is wrong", code="login.failed")
    token = sessions.make_token(sessions.SESSION_PREFIX)
    async with pool.transaction() as connection:
        await connection.execute(_SQL["forget_attempts"], email)
        ends = await connection.fetchval(
            _SQL["add_session"], sessions.hash_token(token), row["id"], rules.session_hours * 3600
        )
        await adminlog.note(connection, email, "login", email)
    return token, ends, shown(row)


async def log_out(pool: Pool, token: str, user: User) -> None:
    """End a session now."""
    async with pool.transaction() as connection:
        await connection.execute(_SQL["end_session"], sessions.hash_token(token))
        await adminlog.note(connection, user.email, "logout", user.email)


async def create_user(pool: Pool, wanted: NewUser, by: User, rules: LoginSettings) -> UserRow:
    """A new person.

    Raises:
        ConflictError: ``user.exists``: this mailbox has an account (a ``+tag`` is the same one).
        InvalidError: no e-mail, or the password is too easy.
    """
    email = person_email(wanted.email)
    check_password(wanted.password, email, rules.min_password)
    hashed = await hash_password(wanted.password)
    async with pool.transaction() as connection:
        row = await _insert(
            connection, msgspec.structs.replace(wanted, email=email), hashed, by.email
        )
        await adminlog.note(connection, by.email, "user.create", email, role=wanted.role)
    return row


def person_email(text: str) -> str:
    """The clean e-mail of a person.

    Raises:
        InvalidError: not an e-mail, or one of a service account.
    """
    email = clean_email(text)
    if email.endswith("@" + SERVICE_DOMAIN):
        raise InvalidError("this is the address of a service account", code="email.invalid")
    return email


async def _insert(connection: Connection, wanted: NewUser, hashed: str, by: str | None) -> UserRow:
    await connection.execute("SELECT one_at_a_time('user', $1)", "create")
    taken = await connection.fetchval(
        "SELECT email FROM users WHERE mailbox = regexp_replace($1, '\\+[^@]*@', '@')",
        wanted.email,
    )
    if taken is not None:
        raise ConflictError(
            f"{taken} has an account already; one person, one account", code="user.exists"
        )
    row = await connection.fetchrow(
        _SQL["add_user"],
        wanted.email,
        wanted.name.strip() or wanted.email,
        wanted.role,
        "person",
        None,
        hashed,
        by,
    )
    return shown(row)


async def change_user(pool: Pool, email: str, change: UserChange, by: User) -> UserRow:
    """Give another role, widen, narrow, lock out or let in.

    Raises:
        NotFoundError: no such person.
        ForbiddenError: ``user.self`` (nobody changes himself), ``permission.apart`` (duties that
            one person must not hold together).
        ConflictError: ``user.last_superadmin``.
    """
    async with pool.transaction() as connection:
        await connection.execute("SELECT one_at_a_time('user', 'change')")
        row = await connection.fetchrow(_SQL["lock_user"], email)
        if row is None:
            raise unknown(email)
        if row["email"] == by.email:
            raise ForbiddenError(
                "nobody changes his own role or permissions",
                code="user.self",
                hint="ask another superadmin",
            )
        role = cast("Role", change.role or row["role"])
        allowed = row["allowed"] if change.allowed is None else words(change.allowed)
        denied = row["denied"] if change.denied is None else words(change.denied)
        disabled = row["disabled_at"] is not None if change.disabled is None else change.disabled
        check_duties(role, allowed, denied)
        if row["kind"] == "service" and role == "superadmin":
            raise ForbiddenError("a service account is no superadmin", code="permission.apart")
        loses = row["role"] == "superadmin" and (role != "superadmin" or disabled)
        if loses and not await connection.fetchval(_SQL["count_superadmins"], email):
            raise ConflictError("the last superadmin has to stay", code="user.last_superadmin")
        changed = await connection.fetchrow(
            _SQL["change_user"], email, role, allowed, denied, disabled
        )
        if disabled:
            await connection.execute(_SQL["end_sessions"], row["id"])
        await adminlog.note(
            connection,
            by.email,
            "user.change",
            email,
            before={k: row[k] for k in ("role", "allowed", "denied", "disabled_at")},
            after={"role": role, "allowed": allowed, "denied": denied, "disabled": disabled},
        )
    return shown(changed)


def check_duties(role: Role, allowed: list[str], denied: list[str]) -> None:
    """Stop at permissions that one person must not hold together.

    Raises:
        ForbiddenError: ``permission.apart``.
    """
    why = conflict(effective(role, frozenset(allowed), frozenset(denied)))
    if why:
        raise ForbiddenError(
            f"these permissions stay apart: {why}",
            code="permission.apart",
            hint="narrow one of them, or give them to two people",
        )


def words(given: list[str]) -> list[str]:
    """Permission words in order, each once.

    Raises:
        InvalidError: ``permission.unknown``.
    """
    for word in given:
        if not any(covers(word, name) for name in PERMISSIONS):
            raise InvalidError(
                f"there is no permission {word[:80]!r}",
                code="permission.unknown",
                hint="GET /api/roles lists them",
            )
    return sorted(set(given))


async def unlock(pool: Pool, email: str, by: User) -> None:
    """Forget the failed logins of a person."""
    async with pool.transaction() as connection:
        if await connection.fetchrow(_SQL["find_user"], email) is None:
            raise unknown(email)
        await connection.execute(_SQL["forget_attempts"], email)
        await adminlog.note(connection, by.email, "user.unlock", email)


async def change_password(pool: Pool, user: User, old: str, new: str, rules: LoginSettings) -> None:
    """Change one's own password; every session of this person ends.

    Raises:
        NotSignedInError: ``login.failed``: the old one is wrong.
        PasswordError: the new one is too easy.
    """
    check_password(new, user.email, rules.min_password)
    async with pool.connection() as connection:
        row = await connection.fetchrow(_SQL["find_user"], user.email)
    if not await verify_password(old, row["password_hash"]):
        raise NotSignedInError("the old password is wrong", code="login.failed")
    hashed = await hash_password(new)
    async with pool.transaction() as connection:
        await connection.execute(_SQL["set_password"], user.email, hashed)
        await connection.execute(_SQL["end_sessions"], user.id)
        await adminlog.note(connection, user.email, "user.password", user.email)


def unknown(email: str) -> NotFoundError:
    """The error for a person who is not there."""
    return NotFoundError(f"there is no account {email[:80]!r}", code="user.unknown")


def shown(row: Any) -> UserRow:
    """A row of ``users`` as others see it; never the password's hash."""
    held = effective(row["role"], frozenset(row["allowed"]), frozenset(row["denied"]))
    return UserRow(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role=row["role"],
        kind=row["kind"],
        owner=row["owner"],
        allowed=list(row["allowed"]),
        denied=list(row["denied"]),
        permissions=sorted(held),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )
