"""Routing keys: who calls, for which endpoint, to do what.

Postgres and the disk copy hold SHA-256 hashes of keys (which are long and random); this process
remembers the presented text of keys that were accepted, so that a request costs one dict look-up.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from msgspec import Struct

from router.errors import ForbiddenError, KeyMissingError, KeyUnknownError

PREFIX = b"ilk_"
ANY = "*"
MAX_TOKEN_BYTES = 512


class KeyRow(Struct, frozen=True):
    """One key as the feed and the disk hold it.

    Attributes:
        key_id: public name of the key, part of every record.
        key_hash: SHA-256 of the whole ``ilk_...`` text.
        endpoints: endpoints it may ask; ``*`` is all.
        actions: what it may do there; ``*`` is all.
        expires_at: seconds since the epoch, None for never.
        revoked_at: seconds since the epoch, None while live.
        rate_per_s: requests per second, None for no limit.
        burst: requests that may come at once; twice the rate when None.
        in_flight: requests in progress at once, None for the node's default.
    """

    key_id: str
    key_hash: bytes
    endpoints: tuple[str, ...]
    actions: tuple[str, ...] = ("predict",)
    expires_at: float | None = None
    revoked_at: float | None = None
    rate_per_s: float | None = None
    burst: int | None = None
    in_flight: int | None = None


class Key:
    """A live key, ready for look-ups.

    Attributes:
        row: what the feed says.
        id: public name.
        id_text: its UTF-8 bytes in the shape the audit record wants.
        only: the single endpoint of a bound key, for requests that name none.
        expires_at: seconds since the epoch, infinity for never.
    """

    __slots__ = ("actions", "endpoints", "expires_at", "id", "only", "pending", "row")

    def __init__(self, row: KeyRow) -> None:
        self.row = row
        self.id = row.key_id
        self.endpoints = frozenset(row.endpoints)
        self.actions = frozenset(row.actions)
        self.only = row.endpoints[0] if len(row.endpoints) == 1 and ANY not in row.endpoints else ""
        self.expires_at = float("inf") if row.expires_at is None else row.expires_at
        self.pending = 0

    def may(self, action: str, endpoint: str) -> None:
        """Refuse what the key is not for.

        Raises:
            ForbiddenError: another endpoint, or another action.
        """
        if endpoint not in self.endpoints and ANY not in self.endpoints:
            raise ForbiddenError(
                f"key {self.id} is not for endpoint {endpoint!r}", code="key.endpoint", at=endpoint
            )
        if action not in self.actions and ANY not in self.actions:
            raise ForbiddenError(
                f"key {self.id} may not {action} at {endpoint!r}", code="key.action", at=endpoint
            )


class KeyTable:
    """All live keys of the node at one moment; replaced as a whole when the feed changes."""

    def __init__(self, rows: Iterable[KeyRow] = ()) -> None:
        self.rows = tuple(rows)
        self._by_hash = {row.key_hash: Key(row) for row in self.rows}
        self._by_text: dict[bytes, Key] = {}

    def __len__(self) -> int:
        """Number of keys, expired and revoked ones included."""
        return len(self._by_hash)

    def find(self, token: bytes | None, now: float | None = None) -> Key:
        """The live key behind a presented text.

        Raises:
            KeyMissingError: nothing was presented.
            KeyUnknownError: no such key, or it was revoked.
            ForbiddenError: it has expired.
        """
        if token is None:
            raise KeyMissingError(
                "expected a routing key, got none",
                hint="send it as `Authorization: Bearer ilk_...` or `X-API-Key`",
            )
        key = self._by_text.get(token)
        if key is None:
            key = self._look_up(token)
        if key.expires_at <= (time.time() if now is None else now):
            raise ForbiddenError(
                f"key {key.id} has expired", code="key.expired", hint="ask for a new key"
            )
        return key

    def _look_up(self, token: bytes) -> Key:
        known = (
            self._by_hash.get(hashlib.sha256(token).digest())
            if len(token) <= MAX_TOKEN_BYTES
            else None
        )
        if known is None:
            raise KeyUnknownError(
                "the routing key is not known here",
                hint="was it copied whole? a new key is known within two seconds",
            )
        if known.row.revoked_at is not None:
            raise KeyUnknownError(f"key {known.id} was revoked", code="key.revoked")
        self._by_text[token] = known
        return known


def key_row(
    key_id: str,
    key: str,
    endpoints: Iterable[str],
    actions: Iterable[str] = ("predict",),
    expires_at: float | None = None,
) -> KeyRow:
    """The row of a key given by its text, for snapshots written without a database."""
    return KeyRow(
        key_id,
        hashlib.sha256(key.encode()).digest(),
        tuple(endpoints),
        tuple(actions),
        expires_at,
    )
