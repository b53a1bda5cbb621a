"""What an approval envelope proves: who signed it, with which key, about what, until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from compiler.identity import Trust
from compiler.signing import Envelope
from compiler.statements import ModelApproval, ReleaseApproval, decode_statement, parse_time
from control_plane.errors import ConflictError, ForbiddenError, InvalidError
from control_plane.identity.user import User

Approval = TypeVar("Approval", ModelApproval, ReleaseApproval)

SKEW = timedelta(minutes=5)
"""How far the clock of the signer's machine may be ahead."""


class StatementMismatchError(InvalidError):
    """The signed statement is not about this."""

    code = "approval.altered"


def check_signer(
    envelope: bytes, trust: Trust, user: User, payload_type: str, kind: type[Approval]
) -> tuple[Approval, str]:
    """The statement inside an envelope that this very person signed, and his key's id.

    Raises:
        SignatureError: malformed, changed, by an unknown or revoked key.
        RoleError: the key is no approver's.
        ForbiddenError: ``approval.signer``: signed by somebody else, or in somebody else's name.
        StatementError: not a statement of this kind.
    """
    payload, person = trust.verify(envelope, payload_type, "approver")
    statement = decode_statement(payload, kind)
    if person != user.email or statement.approver != user.email:
        raise ForbiddenError(
            f"expected a statement signed by and in the name of {user.email}, "
            f"got one by {person} in the name of {statement.approver}",
            code="approval.signer",
            hint="sign it with your own key",
        )
    return statement, signing_key(envelope, trust, person)


def signing_key(envelope: bytes, trust: Trust, person: str) -> str:
    """Id of the approver key of a person that signed a verified envelope."""
    signers = {s.keyid for s in msgspec.json.decode(envelope, type=Envelope).signatures}
    return next(
        key.id
        for key in trust.roster.keys
        if key.id in signers
        and key.person == person
        and "approver" in key.roles
        and key.revoked_at is None
    )


def check_dates(
    statement: ModelApproval | ReleaseApproval, since: datetime, longest: timedelta
) -> tuple[datetime, datetime]:
    """When a statement was issued and until when it holds.

    Args:
        statement: signed and decoded.
        since: time of the submission or proposal; an older statement answers an earlier question.
        longest: how long an approval may hold.

    Raises:
        InvalidError: ``approval.expired`` or ``approval.dates``.
        ConflictError: ``approval.replayed``.
    """
    now = datetime.now(UTC)
    issued, expires = parse_time(statement.issued_at), parse_time(statement.expires_at)
    if expires <= now:
        raise InvalidError(
            f"the statement expired at {statement.expires_at}",
            code="approval.expired",
            hint="fetch a fresh statement and sign that",
        )
    if issued > now + SKEW or expires - issued > longest + SKEW or expires <= issued:
        raise InvalidError(
            f"expected a statement issued by now for at most {longest.days} days, got "
            f"{statement.issued_at} to {statement.expires_at}",
            code="approval.dates",
        )
    if issued < since.replace(microsecond=0):
        raise ConflictError(
            f"the statement of {statement.issued_at} is older than the present submission",
            code="approval.replayed",
            hint="fetch the statement again and sign that",
        )
    return issued, expires


def expect(name: str, wanted: object, got: object) -> None:
    """Stop at a fact of the statement that is not the one at hand.

    Raises:
        StatementMismatchError: names the fact.
    """
    if wanted != got:
        raise StatementMismatchError(
            f"expected {name} {wanted!r}, the statement says {got!r}",
            at=name,
            hint="fetch the statement again and sign that",
        )
