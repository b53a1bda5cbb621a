"""The roster: whose key may sign what, under one root key.

A verifier is configured with the root's public key and nothing else. The roster travels as a DSSE
envelope signed by the root; it maps keys to people and roles, has a version that only grows, and
an end date. A revoked key is refused whatever the date of its signature, because a stolen key can
date its statements as it likes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from compiler.errors import AppError
from compiler.signing import (
    KeyPair,
    SignatureError,
    b64,
    key_id,
    sign,
    unb64,
    verify,
    verify_signers,
)
from compiler.statements import ROSTER, decode_statement, encode_statement, parse_time

Role = Literal["builder", "approver", "releaser", "ledger"]
PUBLIC_BYTES = 32


class RosterError(AppError):
    """The roster is not acceptable: wrong signer, older than one seen, or damaged."""

    code = "roster.invalid"


class RosterExpiredError(RosterError):
    """The roster's end date has passed; the root has to sign a newer one."""

    code = "roster.expired"


class RoleError(AppError):
    """The signing key is known but may not sign this kind of statement."""

    code = "signature.role"


class RosterKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One key of one person (e-mail) or machine (a word), and what it may sign.

    Attributes:
        id: key id, always recomputed from ``public`` before use.
        public: base64 of the 32-byte public key.
        person: e-mail of a person, or a word for a machine role.
        roles: what statements by this key count as.
        revoked_at: RFC 3339 time of revocation; set means refused.
    """

    id: str
    public: str
    person: str
    roles: tuple[Role, ...]
    revoked_at: str | None = None


class Roster(Struct, frozen=True, forbid_unknown_fields=True):
    """All enrolled keys at one version; ``expires`` is an RFC 3339 time."""

    version: int
    expires: str
    keys: tuple[RosterKey, ...] = ()


def roster_key(public: bytes, person: str, *roles: Role) -> RosterKey:
    """An entry for a public key."""
    return RosterKey(key_id(public), b64(public), person, roles)


def sign_roster(roster: Roster, root: KeyPair) -> bytes:
    """The roster's envelope (JSON), signed by the root key."""
    return sign(ROSTER, encode_statement(roster), root)


def enrol(roster: Roster, entry: RosterKey) -> Roster:
    """The next version with one more key.

    Raises:
        RosterError: the key is already enrolled.
    """
    if any(key.id == entry.id for key in roster.keys):
        raise RosterError(f"key {entry.id} is already enrolled", code="roster.duplicate")
    return Roster(roster.version + 1, roster.expires, (*roster.keys, entry))


def revoke(roster: Roster, key: str, now: str) -> Roster:
    """The next version with one key (by id) or every key of one person revoked.

    Raises:
        RosterError: nothing unrevoked matches.
    """
    hit = [k for k in roster.keys if key in (k.id, k.person) and k.revoked_at is None]
    if not hit:
        raise RosterError(
            f"no unrevoked key or person {key!r} in the roster", code="roster.unknown"
        )
    keys = tuple(msgspec.structs.replace(k, revoked_at=now) if k in hit else k for k in roster.keys)
    return Roster(roster.version + 1, roster.expires, keys)


def read_roster(envelope: bytes | str, root_public: bytes) -> Roster:
    """The roster inside an envelope that the root signed; its dates are not judged here.

    Raises:
        RosterError: not signed by the root, or not a roster.
    """
    try:
        payload = verify(envelope, {key_id(root_public): root_public}, ROSTER)
    except SignatureError as error:
        raise RosterError(
            f"the roster is not signed by the trusted root: {error.message}",
            hint="compare the root key of this installation with the one that signed the roster",
        ) from error
    roster = decode_statement(payload, Roster)
    try:
        parse_time(roster.expires)
        publics = [unb64(key.public) for key in roster.keys]
    except ValueError as error:
        raise RosterError(f"damaged roster: {error}") from error
    for key, public in zip(roster.keys, publics, strict=True):
        if len(public) != PUBLIC_BYTES or key.id != key_id(public):
            raise RosterError(f"key id and public key of {key.person!r} do not fit", at=key.id)
    if len({key.id for key in roster.keys}) != len(roster.keys):
        raise RosterError("a key id appears twice")
    return roster


class Trust:
    """Who may say what, ready for verification.

    Attributes:
        roster: the verified roster.
        expires: its end date (aware).
    """

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.expires: datetime = parse_time(roster.expires)
        self._entries = {key.id: key for key in roster.keys}
        self._keys = {key.id: unb64(key.public) for key in roster.keys}

    @property
    def version(self) -> int:
        """Version of the roster."""
        return self.roster.version

    @classmethod
    def from_roster(
        cls,
        envelope: bytes | str,
        root_public: bytes,
        *,
        now: datetime,
        min_version: int = 0,
        allow_expired: bool = False,
    ) -> Trust:
        """Trust in the keys of a root-signed roster.

        Args:
            envelope: DSSE envelope (JSON) of the roster.
            root_public: 32 bytes, the only thing trusted beforehand.
            now: aware time against which the end date is judged.
            min_version: highest version seen so far; a lower one is refused.
            allow_expired: keep using what was valid (a router that restarts on its own).

        Raises:
            RosterError: not signed by the root, damaged, or older than ``min_version``.
            RosterExpiredError: its end date has passed.
        """
        roster = read_roster(envelope, root_public)
        if roster.version < min_version:
            raise RosterError(
                f"expected roster version {min_version} or later, got {roster.version}",
                code="roster.rollback",
                hint="an old roster may hold keys that were revoked since",
            )
        trust = cls(roster)
        if now >= trust.expires and not allow_expired:
            raise RosterExpiredError(
                f"the roster expired at {roster.expires}", hint="sign a newer one with the root key"
            )
        return trust

    def verify(self, envelope: bytes | str, payload_type: str, role: Role) -> tuple[bytes, str]:
        """Payload, and the person whose unrevoked key signed it in this role.

        Raises:
            SignatureError: malformed, wrong, by nobody known, or by a revoked key.
            RoleError: signed by a known key without the role.
        """
        payload, signers = verify_signers(envelope, self._keys, payload_type)
        entries = [self._entries[signer] for signer in signers]
        live = [entry for entry in entries if entry.revoked_at is None]
        if not live:
            raise SignatureError(
                f"key {entries[0].id} of {entries[0].person} was revoked at "
                f"{entries[0].revoked_at}",
                code="signature.revoked",
                hint="someone with a live key has to sign again",
            )
        for entry in live:
            if role in entry.roles:
                return payload, entry.person
        raise RoleError(
            f"expected a {role}'s signature, got {live[0].person} ({', '.join(live[0].roles)})",
            hint=f"enrol the key with role {role}, or let a {role} sign",
        )
