"""What people and machines sign: one small struct and one payload type per kind of statement.

A statement is canonical JSON (sorted keys, no white space); times are RFC 3339 text with a zone.
Unknown fields are refused: a signature covers only what its verifier understands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Struct

from compiler.errors import AppError

PACKAGE = "application/vnd.interlock.package+json"
MODEL_APPROVAL = "application/vnd.interlock.model-approval+json"
RELEASE_APPROVAL = "application/vnd.interlock.release-approval+json"
RELEASE = "application/vnd.interlock.release+json"
ROSTER = "application/vnd.interlock.roster+json"

_encoder = msgspec.json.Encoder(order="sorted")
Statement = TypeVar("Statement", bound=Struct)


class StatementError(AppError):
    """A signed payload is not the statement it claims to be."""

    code = "statement.invalid"


def parse_time(text: str) -> datetime:
    """Aware time of RFC 3339 text.

    >>> parse_time("2026-01-02T03:04:05Z").isoformat()
    '2026-01-02T03:04:05+00:00'

    Raises:
        ValueError: not a time, or without a zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"expected a time with a zone, got {text!r}")
    return time


def format_time(time: datetime) -> str:
    """RFC 3339 text in UTC, seconds.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PackageStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A builder says: I made this package. ``package`` is its manifest's digest."""

    package: str
    name: str
    version: int


class ModelApproval(Struct, frozen=True, forbid_unknown_fields=True):
    """An approver says: this package may serve as this model version.

    Attributes:
        package: ``sha256:<hex>`` of the manifest.
        model: model name.
        version: model version.
        reports: digests of the reports that the approver saw.
        policy: the approval rule that was met, in words.
        approver: e-mail; must be the person behind the signing key.
        issued_at: RFC 3339 time.
        expires_at: RFC 3339 time, judged when a release is activated.
    """

    package: str
    model: str
    version: int
    reports: tuple[str, ...]
    policy: str
    approver: str
    issued_at: str
    expires_at: str

    def __post_init__(self) -> None:
        """Times are checked when read, so that later comparisons cannot fail."""
        parse_time(self.issued_at)
        parse_time(self.expires_at)


class ReleaseApproval(Struct, frozen=True, forbid_unknown_fields=True):
    """An approver says: this endpoint may run this release. ``content`` is the content's digest."""

    endpoint: str
    number: int
    content: str
    approver: str
    issued_at: str
    expires_at: str

    def __post_init__(self) -> None:
        """Times are checked when read, so that later comparisons cannot fail."""
        parse_time(self.issued_at)
        parse_time(self.expires_at)


class ReleaseStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """The releaser says: this is release ``number`` of ``endpoint``."""

    endpoint: str
    number: int
    content: str


def encode_statement(statement: Struct) -> bytes:
    """Canonical JSON of a statement: what is signed."""
    return _encoder.encode(statement)


def decode_statement(payload: bytes, kind: type[Statement]) -> Statement:
    """A statement of this kind.

    Raises:
        StatementError: another shape, an unknown field, a time without a zone.
    """
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise StatementError(f"expected a {kind.__name__}: {error}") from error
