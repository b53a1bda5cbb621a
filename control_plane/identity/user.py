"""The person or service account behind a request."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from msgspec import Struct

from control_plane.errors import ForbiddenError
from control_plane.identity.permissions import Role

Kind = Literal["person", "service"]


class User(Struct, frozen=True):
    """Who is asking, with what he may do at this moment."""

    id: UUID
    email: str
    name: str
    role: Role
    kind: Kind
    permissions: frozenset[str]

    def may(self, permission: str) -> bool:
        """Whether this user holds a permission."""
        return permission in self.permissions

    def demand(self, permission: str) -> None:
        """Stop unless this user holds a permission.

        Raises:
            ForbiddenError: he does not.
        """
        if permission not in self.permissions:
            raise ForbiddenError(
                f"expected permission {permission!r}, {self.email} ({self.role}) lacks it",
                code="permission.denied",
                at=permission,
                hint="ask a superadmin, or somebody whose role has it",
            )
