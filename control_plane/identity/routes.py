"""HTTP of people, sessions, service accounts, roles, the roster and the administrative log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Request, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from compiler.identity import read_roster
from control_plane.db import sql
from control_plane.deps import Bell, Pool, Settings, User, require, signed_in
from control_plane.identity import roster as rosters
from control_plane.identity import service, services
from control_plane.identity.permissions import APART, PERMISSIONS, ROLES
from control_plane.identity.schemas import (
    Apart,
    Bootstrap,
    Login,
    LogRow,
    MadeToken,
    NewServiceAccount,
    NewToken,
    NewUser,
    PasswordChange,
    RoleRow,
    Roles,
    RosterKeyView,
    RosterView,
    Session,
    TokenRow,
    UserChange,
    UserRow,
)
from control_plane.paging import Cursor, Limit, Page, page_of, read_cursor

_SQL = sql.load("control_plane.identity")
_ZERO = UUID(int=0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@post("/bootstrap", opt={"open": True})
async def bootstrap(data: JSONBody[Bootstrap], pool: Pool, settings: Settings) -> UserRow:
    """Create the first superadmin, once."""
    return await service.bootstrap(pool, data, settings.bootstrap_token_file, settings.login)


@post("/login", opt={"open": True}, status_code=200)
async def log_in(
    data: JSONBody[Login], pool: Pool, settings: Settings, request: Request[Any, Any, Any]
) -> Session:
    """Open a session."""
    address = request.client.host if request.client else ""
    return Session(*await service.log_in(pool, data.email, data.password, address, settings.login))


@post("/logout", guards=[signed_in], status_code=204)
async def log_out(pool: Pool, user: User, request: Request[Any, Any, Any]) -> None:
    """End this session."""
    await service.log_out(pool, request.headers["authorization"].partition(" ")[2].strip(), user)


@get("/me", guards=[signed_in])
async def show_me(user: User) -> User:
    """Who I am and what I may do."""
    return user


@post("/password", guards=[signed_in], status_code=204)
async def change_password(
    data: JSONBody[PasswordChange], pool: Pool, user: User, settings: Settings
) -> None:
    """Change one's own password."""
    await service.change_password(pool, user, data.old, data.new, settings.login)


@get("/users", guards=[require("users.read")])
async def list_users(pool: Pool, cursor: Cursor = "", limit: Limit = 100) -> Page[UserRow]:
    """People and service accounts, oldest first."""
    after = read_cursor(cursor, datetime, UUID) if cursor else (_EPOCH, _ZERO)
    async with pool.connection() as connection:
        rows = await connection.fetch(_SQL["list_users"], *after, limit + 1)
    return page_of(rows, limit, service.shown, lambda row: (row["created_at"], row["id"]))


@post("/users", guards=[require("users.write")])
async def create_user(
    data: JSONBody[NewUser], pool: Pool, user: User, settings: Settings
) -> UserRow:
    """Create a person."""
    return await service.create_user(pool, data, user, settings.login)


@patch("/users/{email:str}", guards=[require("users.write")])
async def change_user(
    email: FromPath[str], data: JSONBody[UserChange], pool: Pool, user: User
) -> UserRow:
    """Change role or permissions, lock out, let in."""
    return await service.change_user(pool, email, data, user)


@post("/users/{email:str}/unlock", guards=[require("users.write")], status_code=204)
async def unlock_user(email: FromPath[str], pool: Pool, user: User) -> None:
    """Forget failed logins."""
    await service.unlock(pool, email, user)


@post("/services", guards=[require("users.write")])
async def create_service(data: JSONBody[NewServiceAccount], pool: Pool, user: User) -> UserRow:
    """Create a service account."""
    return await services.create_account(pool, data, user)


@get("/services/{email:str}/tokens", guards=[require("users.read")])
async def list_tokens(
    email: FromPath[str], pool: Pool, cursor: Cursor = "", limit: Limit = 100
) -> Page[TokenRow]:
    """Tokens of a service account, oldest first."""
    after = read_cursor(cursor, datetime, UUID) if cursor else (_EPOCH, _ZERO)
    rows = await services.list_tokens(pool, email, (after[0], after[1]), limit + 1)
    return page_of(rows, limit, lambda r: TokenRow(**r), lambda r: (r["created_at"], r["id"]))


@post("/services/{email:str}/tokens", guards=[require("users.write")])
async def create_token(
    email: FromPath[str], data: JSONBody[NewToken], pool: Pool, user: User
) -> MadeToken:
    """Make a token; it is shown once."""
    return await services.create_token(pool, email, data, user)


@delete("/services/{email:str}/tokens/{token:uuid}", guards=[require("users.write")])
async def revoke_token(email: FromPath[str], token: FromPath[UUID], pool: Pool, user: User) -> None:
    """End a token now."""
    await services.revoke_token(pool, email, token, user)


@get("/roles", guards=[signed_in])
async def list_roles() -> Roles:
    """The permission matrix."""
    rows = [RoleRow(name, sorted(held)) for name, held in ROLES.items()]
    apart = [Apart(sorted(one), sorted(other), why) for one, other, why in APART]
    return Roles(rows, PERMISSIONS, apart)


@get("/roster", guards=[require("roster.read")])
async def show_roster(pool: Pool, settings: Settings) -> RosterView:
    """The roster that counts, proved against the root key."""
    return await _view(pool, settings)


async def _view(pool: Pool, settings: Settings) -> RosterView:
    async with pool.connection() as connection:
        row = await rosters.current_row(connection)
    envelope = bytes(row["envelope"])
    found = read_roster(envelope, rosters.read_root_key(settings.root_key))
    keys = [RosterKeyView(k.id, k.person, list(k.roles), k.revoked_at) for k in found.keys]
    return RosterView(
        found.version, found.expires, row["accepted_at"], row["accepted_by"], keys,
        envelope.decode(),
    )  # fmt: skip


@put("/roster", guards=[require("roster.write")])
async def install_roster(
    request: Request[Any, Any, Any],
    pool: Pool,
    user: User,
    settings: Settings,
    bell: Bell,
) -> RosterView:
    """Install a roster: the body is the DSSE envelope that the root key signed."""
    envelope = await request.body()
    public = rosters.read_root_key(settings.root_key)
    async with pool.transaction() as connection:
        await rosters.install(connection, envelope, public, user.email)
    await bell.ring("roster")
    return await _view(pool, settings)


@get("/log", guards=[require("log.read")])
async def list_log(
    *,
    pool: Pool,
    cursor: Cursor = "",
    limit: Limit = 100,
    actor: FromQuery[str] = "",
    subject: FromQuery[str] = "",
    action: FromQuery[str] = "",
) -> Page[LogRow]:
    """The administrative log, newest first; ``action`` is a prefix."""
    before = read_cursor(cursor, int)[0] if cursor else 2**62
    async with pool.connection() as connection:
        if action and not (actor or subject):
            rows = await connection.fetch(_SQL["list_log_of_action"], before, action, limit + 1)
        else:
            rows = await connection.fetch(
                _SQL["list_log"], before, actor, subject, action, limit + 1
            )
    return page_of(rows, limit, lambda row: LogRow(**row), lambda row: (row["id"],))


ROUTE_HANDLERS = [
    bootstrap, log_in, log_out, show_me, change_password, list_users, create_user, change_user,
    unlock_user, create_service, list_tokens, create_token, revoke_token, list_roles, show_roster,
    install_roster, list_log,
]  # fmt: skip
