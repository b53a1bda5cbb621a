"""What the approval routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct


class StatementToSign(Struct):
    """What to sign: DSSE payload type and payload (base64)."""

    payload_type: str
    payload: str


class Signed(Struct, forbid_unknown_fields=True):
    """A DSSE envelope, as JSON or as the text of that JSON."""

    envelope: Annotated[str, Meta(min_length=1, max_length=1 << 20)] | dict[str, Any]

    def raw(self) -> bytes:
        """The envelope's bytes."""
        given = self.envelope
        return given.encode() if isinstance(given, str) else msgspec.json.encode(given)


class Standing(Struct):
    """Where a version stands after an act."""

    model: str
    version: int
    state: str
    at: datetime
    missing: list[str] = []
    """Roles whose approval is still missing."""


class Submission(Struct, forbid_unknown_fields=True):
    """What the submitter says about the version."""

    note: Annotated[str, Meta(max_length=4000)] = ""
