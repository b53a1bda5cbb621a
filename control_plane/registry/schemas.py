"""What the registry routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

Tier = Literal["low", "standard", "high"]


class ModelRow(Struct):
    """A model with its newest version."""

    name: str
    tier: Tier
    created_by: str
    created_at: datetime
    latest: int | None
    state: str | None


class VersionRow(Struct):
    """A version in a list."""

    version: int
    state: str
    state_at: datetime
    package: str | None
    run: UUID | None
    created_by: str
    created_at: datetime
    contributors: list[str]


class ModelView(Struct):
    """A model with its aliases."""

    name: str
    tier: Tier
    created_by: str
    created_at: datetime
    aliases: dict[str, int]


class EventRow(Struct):
    """One thing that happened to a version."""

    state: str
    actor: str
    reason: str
    detail: dict[str, Any]
    at: datetime


class ApprovalRow(Struct):
    """One signed approval."""

    approver: str
    role: str
    key_id: str
    reports: list[str]
    policy: str
    issued_at: datetime
    expires_at: datetime
    at: datetime


class UseRow(Struct):
    """A release that names a version."""

    endpoint: str
    number: int
    state: str
    at: datetime


class VersionView(Struct):
    """Everything about one version."""

    model: str
    version: int
    tier: Tier
    state: str
    package: str | None
    run: UUID | None
    created_by: str
    created_at: datetime
    contributors: list[str]
    manifest: dict[str, Any] | None
    metrics: dict[str, Any]
    parity: dict[str, Any]
    lineage: dict[str, Any]
    reports: list[ReportRow]
    approvals: list[ApprovalRow]
    releases: list[UseRow]
    history: list[EventRow]


class ReportRow(Struct):
    """A report that every approver has to open."""

    name: str
    digest: str
    media_type: str
    bytes: int
    at: datetime
    opened_by: list[str]


class AliasChange(Struct, forbid_unknown_fields=True):
    """Where an alias points from now on; null takes it away."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None


class AliasRow(Struct):
    """One move of an alias."""

    id: int
    alias: str
    version: int | None
    actor: str
    valid_from: datetime
    recorded_at: datetime


class TierChange(Struct, forbid_unknown_fields=True):
    """How much hangs on a model."""

    tier: Tier


class Difference(Struct):
    """One fact that differs between two versions."""

    at: str
    before: Any
    after: Any


class Comparison(Struct):
    """Two versions side by side; what is equal is left out."""

    model: str
    before: int
    after: int
    same_features: bool
    differences: list[Difference]


class Reason(Struct, forbid_unknown_fields=True):
    """Why."""

    reason: Annotated[str, Meta(min_length=1, max_length=4000)]
