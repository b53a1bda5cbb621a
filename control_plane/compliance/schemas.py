"""Sections, answers and scores."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

Severity = Literal["critical", "high", "medium", "low"]
Status = Literal["pass", "conditional", "fail"]


class Item(Struct, frozen=True):
    """One thing that has to be known about a model.

    Attributes:
        auto: the system can answer it from its own records.
        valid_days: how long an answer counts in full; None for ever.
    """

    key: str
    title: str
    weight: float
    auto: bool
    valid_days: int | None


class Section(Struct, frozen=True):
    """One of the twelve sections."""

    key: str
    title: str
    mandatory: bool
    items: tuple[Item, ...]


class Thresholds(Struct, frozen=True):
    """Least scores, 0 to 100."""

    pass_section: float
    pass_overall: float
    conditional_section: float


class Policy(Struct, frozen=True):
    """The sections with their weights; data with an owner and a change log."""

    policy: str
    owner: str
    changes: list[dict[str, str]]
    thresholds: Thresholds
    sections: tuple[Section, ...]


class Reference(Struct, frozen=True):
    """A rule that a profile refers to, and when it holds."""

    name: str
    effective_from: date
    effective_to: date | None
    about: list[str]


class Profile(Struct, frozen=True):
    """A use case or regime: which sections it makes mandatory."""

    profile: str
    title: str
    as_of: date
    promotes: list[str]
    references: list[Reference]
    note: str


class Answer(Struct, frozen=True):
    """The newest answer to one item.

    Attributes:
        item: ``SECTION.ITEM``.
        source: by the system or by a person.
        evidence: digest of an artifact that was found to exist; empty when there is none.
        reviewer: an independent person who agreed.
        not_applicable: the item does not apply; needs a reason (the value) and a reviewer.
        carried: text that came with an older version and nobody has looked at since.
        valid_until: counts in full until then.
    """

    item: str
    value: str
    source: Literal["auto", "human"]
    author: str
    at: datetime
    evidence: str = ""
    reviewer: str = ""
    not_applicable: bool = False
    carried: bool = False
    valid_until: datetime | None = None


class OpenFinding(Struct, frozen=True):
    """A finding that caps the score of its section until it is closed."""

    id: UUID
    section: str
    severity: Severity
    text: str
    owner: str
    due: date
    opened_by: str
    at: datetime


class SectionScore(Struct, frozen=True):
    """How complete a section is, and which items are missing."""

    key: str
    title: str
    mandatory: bool
    score: float
    open: list[str]


class Score(Struct, frozen=True):
    """Evidence completeness at one time.

    Attributes:
        overall: 0 to 100.
        mandatory_passed: mandatory sections at or above the pass line.
        coverage: share of the weight that is bound to verified artifacts.
        oldest_evidence: of the answers that count.
    """

    policy: str
    profile: str
    at: datetime
    overall: float
    status: Status
    mandatory: int
    mandatory_passed: int
    coverage: float
    oldest_evidence: datetime | None
    sections: list[SectionScore]


class NewAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer by a person."""

    item: str
    value: str
    evidence: str = ""
    not_applicable: bool = False


class NewFinding(Struct, frozen=True, forbid_unknown_fields=True):
    """A finding of a validator."""

    section: str
    severity: Severity
    text: str
    owner: str
    due: date


class ProfileChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """Which profile a model answers to."""

    profile: str


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: str


class Setup(Struct, frozen=True):
    """Everything about a version's compliance setup."""

    model: str
    version: int
    profile: Profile | None
    score: Score
    answers: list[Answer]
    findings: list[OpenFinding]
    monitoring: dict[str, Any]
