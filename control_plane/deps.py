"""What route handlers ask for: the pool, the user, the settings; and who may call them.

A handler says who may call it with ``guards=[require("models.read")]``; one that anybody may call
says ``opt={"open": True}``. The application refuses to start with a handler that says neither.

    @get("/models", guards=[require("models.read")])
    async def list_models(pool: Pool, user: User, limit: Limit = 50) -> Page[ModelRow]: ...

``Pool``, ``User``, ``Settings`` and ``Bell`` here are the types of the domain, marked as injected.
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler

from control_plane.db import pool as db
from control_plane.doorbell import Doorbell
from control_plane.errors import NotSignedInError
from control_plane.identity import sessions
from control_plane.identity.permissions import PERMISSIONS
from control_plane.identity.user import User as Account
from control_plane.settings import ControlSettings

Pool = NamedDependency[db.Pool]
User = NamedDependency[Account]
Settings = NamedDependency[ControlSettings]
Bell = NamedDependency[Doorbell]

_USER = "interlock_user"


class require:  # noqa: N801 - reads as a verb where it is used: guards=[require("keys.write")]
    """A guard that lets only holders of one permission through."""

    def __init__(self, permission: str) -> None:
        if permission not in PERMISSIONS:
            raise ValueError(f"unknown permission {permission!r}")
        self.permission = permission

    async def __call__(self, connection: ASGIConnection, _: BaseRouteHandler) -> None:
        """Check the caller.

        Raises:
            NotSignedInError: no valid token.
            ForbiddenError: the permission is missing.
        """
        user = await authenticate(connection)
        user.demand(self.permission)


async def signed_in(connection: ASGIConnection, _: BaseRouteHandler) -> None:
    """A guard that lets everybody through who is signed in.

    Raises:
        NotSignedInError: no valid token.
    """
    await authenticate(connection)


async def authenticate(connection: ASGIConnection) -> Account:
    """The user behind the ``Authorization`` header, looked up once per request.

    Raises:
        NotSignedInError: no, unknown, expired or revoked token.
    """
    known = connection.scope.get(_USER)
    if isinstance(known, Account):
        return known
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotSignedInError(
            "expected an Authorization header with a Bearer token",
            code="session.missing",
            hint="POST /api/login first, or: interlock login",
        )
    pool: db.Pool = connection.app.state.pool
    user = await sessions.resolve(pool, token.strip())
    connection.scope[_USER] = user  # type: ignore[literal-required]
    return user


async def current_user(request: Request[Any, Any, State]) -> Account:
    """Dependency ``user``: the caller of a guarded handler."""
    return await authenticate(request)


async def provide_pool(state: State) -> db.Pool:
    """Dependency ``pool``."""
    pool: db.Pool = state.pool
    return pool


async def provide_settings(state: State) -> ControlSettings:
    """Dependency ``settings``."""
    settings: ControlSettings = state.settings
    return settings


async def provide_bell(state: State) -> Doorbell:
    """Dependency ``bell``: tells routers that something changed."""
    bell: Doorbell = state.bell
    return bell
