"""What the routing-key routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

Word = Annotated[str, Meta(min_length=1, max_length=100)]
Actions = Annotated[list[Word], Meta(min_length=1, max_length=10)]


class KeyLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may ask of all nodes together; null is without a limit.

    Attributes:
        rate_per_s: requests per second over all nodes.
        burst: requests that may come at once; twice the rate when null.
        in_flight: requests in progress on one worker; the node's own limit when null.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    in_flight: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class NewKey(Struct, forbid_unknown_fields=True):
    """A key for the callers of one endpoint."""

    endpoint: Word
    name: Word
    expires_at: datetime | None = None
    actions: Actions = field(default_factory=lambda: ["predict"])
    limits: KeyLimits = KeyLimits()


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
    rate_per_s: float | None
    burst: int | None
    in_flight: int | None
