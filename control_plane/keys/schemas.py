"""What the routing-key routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

Word = Annotated[str, Meta(min_length=1, max_length=100)]
Actions = Annotated[list[Word], Meta(min_length=1, max_length=10)]


class NewKey(Struct, forbid_unknown_fields=True):
    """A key for the callers of one endpoint."""

    endpoint: Word
    name: Word
    expires_at: datetime | None = None
    actions: Actions = field(default_factory=lambda: ["predict"])


class Rotation(Struct, forbid_unknown_fields=True):
    """How long the old key lives beside the new one."""

    overlap_s: Annotated[int, Meta(ge=0, le=90 * 86400)] = 86400
    expires_at: datetime | None = None


class MadeKey(Struct):
    """A key that was just made; it is not shown again."""

    id: UUID
    key: str
    endpoint: str
    name: str
    expires_at: datetime | None
    replaces: UUID | None = None


class KeyRow(Struct):
    """A key without its secret."""

    id: UUID
    name: str
    endpoint: str
    actions: list[str]
    hint: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaces: UUID | None
