"""What the people routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from control_plane.identity.permissions import Role

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Secret = Annotated[str, Meta(min_length=1, max_length=1024)]
Words = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=100)]


class Bootstrap(Struct, forbid_unknown_fields=True):
    """The first superadmin, made once with the token of this installation."""

    token: Secret
    name: Name
    email: Email
    password: Secret


class Login(Struct, forbid_unknown_fields=True):
    """Who and the proof."""

    email: Email
    password: Secret


class NewUser(Struct, forbid_unknown_fields=True):
    """A person to create."""

    name: Name
    email: Email
    password: Secret
    role: Role


class NewServiceAccount(Struct, forbid_unknown_fields=True):
    """A program's account; its owner answers for what it does."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,40}$")]
    owner: Email
    role: Literal["manager", "data_scientist", "compliance_manager"]


class NewToken(Struct, forbid_unknown_fields=True):
    """A token of a service account. ``scope`` narrows it to some permissions."""

    name: Name
    days: Annotated[int, Meta(ge=1, le=366)] = 90
    scope: Words | None = None


class UserChange(Struct, forbid_unknown_fields=True):
    """What to change of a person; what is left out stays."""

    role: Role | None = None
    allowed: Words | None = None
    denied: Words | None = None
    disabled: bool | None = None


class PasswordChange(Struct, forbid_unknown_fields=True):
    """One's own password."""

    old: Secret
    new: Secret


class UserRow(Struct):
    """A person or service account as others see it."""

    id: UUID
    email: str
    name: str
    role: Role
    kind: Literal["person", "service"]
    owner: str | None
    allowed: list[str]
    denied: list[str]
    permissions: list[str]
    created_at: datetime
    disabled_at: datetime | None


class Session(Struct):
    """A session that was just opened; the token is not shown again."""

    token: str
    expires_at: datetime
    user: UserRow


class RoleRow(Struct):
    """A role and what it gives."""

    name: Role
    permissions: list[str]


class Roles(Struct):
    """The permission matrix, and what one person may not hold together."""

    items: list[RoleRow]
    permissions: dict[str, str]
    apart: list[Apart]


class Apart(Struct):
    """Two sides of which one person holds at most one."""

    one: list[str]
    other: list[str]
    why: str


class RosterView(Struct):
    """Whose signatures count."""

    version: int
    expires: str
    accepted_at: datetime
    accepted_by: str | None
    keys: list[RosterKeyView]
    envelope: str


class RosterKeyView(Struct):
    """One signing key."""

    id: str
    person: str
    roles: list[str]
    revoked_at: str | None


class TokenRow(Struct):
    """A service token as others see it."""

    id: UUID
    name: str
    scope: list[str] | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class MadeToken(Struct):
    """A token that was just made; it is not shown again."""

    id: UUID
    token: str
    expires_at: datetime


class LogRow(Struct):
    """One administrative act."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, object]
