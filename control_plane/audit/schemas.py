"""The evidence as people read it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct


class Filters(Struct, frozen=True):
    """Which records; every filter that is given must hold.

    Attributes:
        since: decided for requests received at or after this time.
        until: received before this time.
        subject_ref: keyed hash of whom it is about.
        key_id: routing key that asked.
        outcome: label of an outcome that came of it.
        override: decision that a person made instead.
    """

    endpoint: str | None = None
    subject_ref: str | None = None
    request_id: str | None = None
    decision: str | None = None
    model: str | None = None
    version: int | None = None
    rule: str | None = None
    release: int | None = None
    status: int | None = None
    key_id: str | None = None
    outcome: str | None = None
    override: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RecordRow(Struct, frozen=True):
    """A decision in a list; the values it was made from are in the single record."""

    id: UUID
    received_at: datetime
    decided_at: datetime
    endpoint: str
    release: int
    rule: str
    unknown: list[str]
    model: str | None
    version: int | None
    package_digest: str | None
    key_id: str
    request_id: str | None
    subject_ref: str | None
    decision: str | None
    decision_rule: str | None
    status: int
    durability: str
    retention_class: str
    latency_us: int
    explain: int
    reason: str | None
    rows: int
    writer: str
    seq: int


class Record(RecordRow, frozen=True, kw_only=True):
    """A decision with everything it was made from.

    Attributes:
        features: as received.
        defaults: features whose default was applied.
        outputs: of the model.
        error: the problem document that was answered instead.
        part: digest of the columnar part this record stands for.
    """

    features: Any
    context: Any
    defaults: list[str]
    outputs: Any
    error: Any
    idempotency_key: str | None
    part: str | None
    traceparent: str | None
    batch: int
    leaf: int


class Explanation(Struct, frozen=True):
    """Why the model said what it said.

    Attributes:
        state: ``ok``, ``mismatch``, ``failed``, or ``skipped`` when it was not cheap enough;
            ``pending`` while the explainer is at work, ``none`` when nobody asked for one.
        base: margin of the reference.
        phi: contribution of each feature to the margin.
        reasons: the strongest ones in words.
    """

    state: str
    method: str | None = None
    space: str | None = None
    base: float | None = None
    phi: dict[str, float] = {}
    reasons: list[str] = []
    residual: float | None = None
    detail: str | None = None
    created_at: datetime | None = None


class ReleaseFacts(Struct, frozen=True):
    """The release that decided."""

    id: UUID
    number: int
    digest: str
    state: str | None
    proposed_by: str
    editors: list[str]
    justification: str
    at: datetime


class ModelFacts(Struct, frozen=True):
    """The model version that scored."""

    name: str
    version: int
    package: str | None
    state: str | None
    trained_by: str
    contributors: list[str]
    run_id: UUID | None


class Approval(Struct, frozen=True):
    """Who agreed to what, and when.

    Attributes:
        what: ``model NAME vN`` or ``release ENDPOINT N``.
    """

    what: str
    approver: str
    role: str | None
    key_id: str
    issued_at: datetime
    expires_at: datetime


class LinkedEvent(Struct, frozen=True):
    """An outcome, an override, or another event about this decision."""

    id: UUID
    at: datetime
    kind: str
    actor: str
    body: Any


class Evidence(Struct, frozen=True):
    """One decision and everything that led to it."""

    record: Record
    explanation: Explanation
    release: ReleaseFacts | None
    model: ModelFacts | None
    approvals: list[Approval]
    events: list[LinkedEvent]


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """Why somebody needs what is asked for; it is recorded with the act."""

    reason: Annotated[str, Meta(min_length=3, max_length=2000)]


class Revealed(Struct, frozen=True):
    """A record's features with their sensitive values opened.

    Attributes:
        sealed: names whose key was destroyed: nobody can open them.
    """

    id: UUID
    features: Any
    sealed: list[str]


class NewErasure(Reason, frozen=True, forbid_unknown_fields=True):
    """A person whose sensitive data is to be destroyed."""

    subject: Annotated[str, Meta(min_length=1, max_length=1000)]


class Erasure(Struct, frozen=True):
    """What was destroyed.

    Attributes:
        subject_ref: keyed hash of the person.
        keys: keys destroyed; 0 when there was nothing sensitive about the person.
    """

    subject_ref: str
    keys: int


class NewPolicy(Reason, frozen=True, forbid_unknown_fields=True):
    """How long a retention class is kept."""

    keep_days: Annotated[int, Meta(ge=1, le=36_500)]
    legal_hold: bool = False


class Policy(Struct, frozen=True):
    """A retention class; one without a policy is kept for ever."""

    retention_class: str
    keep_days: int
    reason: str
    legal_hold: bool


class Disposal(Struct, frozen=True):
    """A day of records that was archived and dropped."""

    partition: str
    retention_class: str
    day: date
    rows: int
    archive: str
    archive_digest: str
    disposed_at: datetime


class PartRow(Struct, frozen=True):
    """A decision out of a columnar part.

    Attributes:
        record: id of the part's record, whose proof covers it.
        part: digest of the part.
        received_at: of the part's record.
        values: columns of the row.
    """

    record: UUID
    part: str
    received_at: datetime
    endpoint: str
    release: int
    values: dict[str, Any]


class PartRows(Struct, frozen=True):
    """Decisions about a subject out of columnar parts.

    Attributes:
        items: found rows.
        parts: parts that were read.
        missing: parts that the artifact store does not have (yet).
        next: cursor of the next parts, None after the last.
    """

    items: list[PartRow]
    parts: int
    missing: list[str]
    next: str | None
