"""What the endpoint and release routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from compiler.rules.diff.report import TableDiff
from compiler.rules.finding import Finding
from router.release.spec import Policies

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Words = Annotated[str, Meta(min_length=1, max_length=4000)]
Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class NewEndpoint(Struct, forbid_unknown_fields=True):
    """An endpoint to create."""

    name: Name
    owner: Annotated[str, Meta(max_length=254)] = ""
    """E-mail of who answers for it; default who creates it."""
    slo: dict[str, float] = {}
    """Such as ``{"p99_ms": 5, "availability": 0.999}``."""


class EndpointChange(Struct, forbid_unknown_fields=True):
    """What to change of an endpoint; what is left out stays."""

    owner: Annotated[str, Meta(max_length=254)] | None = None
    slo: dict[str, float] | None = None


class Draft(Struct, forbid_unknown_fields=True):
    """What a release is made from."""

    rules: dict[str, Any]
    """JSON form, or ``{"text": "IF ... THEN ..."}``."""
    models: dict[Name, Number] = {}
    """Version per model that a rule names."""
    decision_table: dict[str, Any] | None = None
    policies: Policies = Policies()


class DraftView(Struct):
    """A draft and its revision, which is also its ETag."""

    endpoint: str
    revision: int
    editor: str
    at: datetime
    editors: list[str]
    """Everybody whose edits the next release would carry."""
    draft: Draft


class Findings(Struct):
    """What a check found; a release needs one without errors."""

    ok: bool
    findings: list[Finding]


class DiffWanted(Struct, forbid_unknown_fields=True):
    """What to compare a draft on."""

    traffic: Literal["recent", "none"] = "recent"
    against: Literal["live"] = "live"


class Route(Struct, frozen=True):
    """Where a request goes and which rule says so."""

    route: str
    rule: str


class Move(Struct):
    """Requests that go another way, or the same way by another rule."""

    before: Route
    after: Route
    rows: int
    share: float


class Example(Struct):
    """One request that goes another way."""

    before: Route
    after: Route
    features: dict[str, Any]
    record: str | None
    """Id of its audit record, when it is a real request."""


class ModelChange(Struct):
    """A model that the draft binds to another version; null where one of the two has none."""

    name: str
    before: int | None
    after: int | None


class DraftDiff(Struct):
    """What a draft changes against the release in service."""

    against: int | None
    """Number of the release in service; null when there is none."""
    traffic: str
    """``recent``, ``snapshot sha256:... (validation 2 of NAME)``, ``... (training of NAME)`` or
    ``none``: what was compared on."""
    rows: int
    changed: int
    """Requests that go to another model or decision."""
    share: float | None
    moves: list[Move]
    examples: list[Example]
    contract: list[Finding]
    """What callers of the release in service would lose."""
    models: list[ModelChange] = []
    """Models whose version is another, new ones and those that are gone."""
    routing: TableDiff | None = None
    """What changes for every conceivable request; null without a release in service, or when its
    features have other types."""
    decisions: TableDiff | None = None
    """The same of the decision table; null when one of the two has none."""


class EndpointRow(Struct):
    """An endpoint and what it serves."""

    name: str
    owner: str
    slo: dict[str, float]
    created_by: str
    created_at: datetime
    serving: int | None
    """Number of the release in service."""
    suspended: bool
    draft_revision: int | None


class Proposal(Struct, forbid_unknown_fields=True):
    """The draft as a release."""

    justification: Words
    effective_from: datetime | None = None
    waivers: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=50)] = []
    """Codes of findings at level error that are accepted, with the reason in the justification."""


class ReleaseApprovalRow(Struct):
    """One signed approval of a release."""

    approver: str
    key_id: str
    issued_at: datetime
    expires_at: datetime
    at: datetime


class ReleaseEventRow(Struct):
    """One thing that happened to a release."""

    state: str
    actor: str
    reason: str
    at: datetime


class ReleaseRow(Struct):
    """A release in a list."""

    id: UUID
    endpoint: str
    number: int
    state: str
    digest: str
    proposed_by: str
    editors: list[str]
    justification: str
    effective_from: datetime | None
    at: datetime


class ReleaseView(Struct):
    """Everything about a release."""

    id: UUID
    endpoint: str
    number: int
    state: str
    digest: str
    proposed_by: str
    editors: list[str]
    justification: str
    effective_from: datetime | None
    at: datetime
    content: dict[str, Any]
    approvals: list[ReleaseApprovalRow]
    history: list[ReleaseEventRow]


class Turn(Struct, forbid_unknown_fields=True):
    """Back to an older release."""

    to: Number
    reason: Words


class Because(Struct, forbid_unknown_fields=True):
    """Why."""

    reason: Words


class Serving(Struct):
    """What an endpoint does from now on."""

    endpoint: str
    number: int | None
    suspended: bool
    valid_from: datetime
    activation: int
    scheduled: list[ScheduledRow] = []
    """Activations that are still to come."""


class ScheduledRow(Struct):
    """An activation with a date to come."""

    number: int
    valid_from: datetime


class ActivationRow(Struct):
    """One line of the history of an endpoint."""

    id: int
    kind: Literal["activate", "rollback", "suspend", "resume"]
    number: int | None
    valid_from: datetime
    recorded_at: datetime
    actor: str
    reason: str


class ServedModel(Struct):
    """A model in a release, and who approved it."""

    name: str
    version: int
    package: str
    approved_by: list[str]
    contributors: list[str]
    run: UUID | None


class Served(Struct):
    """What served an endpoint at a time, as it was known at a time, and who approved it."""

    endpoint: str
    at: datetime
    known_at: datetime
    suspended: bool
    number: int | None = None
    release: UUID | None = None
    digest: str | None = None
    activation: ActivationRow | None = None
    proposed_by: str | None = None
    editors: list[str] = []
    justification: str | None = None
    approvals: list[ReleaseApprovalRow] = []
    models: list[ServedModel] = []
