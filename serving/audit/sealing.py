"""Sensitive features: sealed in the record, openable by key, erased by destroying the key.

A sealed value stands in the features as ``{"$sealed": KEY, "box": BASE64}`` where the value was.
The hash of the record covers the sealed form, so that erasing a person breaks no chain. In the
spool the key is the node's own; the shipper seals again under a key of the subject (or of the day,
for records about nobody in particular), which Postgres holds wrapped by the master key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from compiler.errors import AppError
from serving.audit.link import day_of
from serving.audit.privacy import split_protected
from serving.audit.record import AuditRecord
from serving.audit.row import as_uuid

KEY_BYTES = 32
NONCE_BYTES = 12
CACHED_KEYS = 20_000
GENERATIONS = 100
SEALED_MARK = b'"$sealed"'
"""Stands in every features object that has a sealed value."""

READ_KEYS = "SELECT subject_ref, wrapped FROM audit_subject_keys WHERE subject_ref = ANY($1)"
WRITE_KEY = """
INSERT INTO audit_subject_keys (subject_ref, wrapped, master_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""
DESTROY = r"""
UPDATE audit_subject_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
 WHERE (subject_ref = $1 OR subject_ref LIKE replace($1, '_', '\_') || '#%') AND wrapped IS NOT NULL
RETURNING subject_ref
"""
HOLD = "SELECT retention_class FROM audit_retention WHERE legal_hold LIMIT 1"
NOTE = """
INSERT INTO audit_events (kind, subject_ref, record_id, actor, body) VALUES ($1, $2, $3, $4, $5)
"""


class SealingError(AppError):
    """A sealed value cannot be opened, or a key is missing."""

    code = "audit.sealed"


class SealedValue(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the place of a sensitive value."""

    key: str = msgspec.field(name="$sealed")
    box: str


_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_sealed = msgspec.json.Decoder(SealedValue).decode
_encode = msgspec.json.Encoder().encode


class MasterKey:
    """The key that wraps all others; it never leaves the process.

    Attributes:
        id: name of the key, from its digest.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealingError(f"expected a master key of {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self.id = "m:" + hashlib.sha256(b"interlock master key" + key).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> MasterKey:
        """The key in a file: base64 of 32 bytes.

        Raises:
            SealingError: it is not there or not a key.
        """
        try:
            return cls(base64.b64decode(path.read_bytes().strip(), validate=True))
        except (OSError, ValueError) as error:
            raise SealingError(f"cannot read the master key: {error}", at=str(path)) from error

    def derive(self, purpose: str) -> AESGCM:
        """A key for one purpose (HMAC-SHA-256 of its name)."""
        return AESGCM(hmac.digest(self._key, purpose.encode(), "sha256"))

    def wrap(self, name: str, key: bytes) -> bytes:
        """A data key as Postgres may hold it; bound to its name."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self.derive("wrap").encrypt(nonce, key, name.encode())

    def unwrap(self, name: str, box: bytes) -> bytes:
        """The data key in a box.

        Raises:
            SealingError: wrapped by another master key, for another name, or damaged.
        """
        try:
            return self.derive("wrap").decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], name.encode())
        except InvalidTag:
            raise SealingError(f"the key of {name} does not open under {self.id}") from None


def seal_value(cipher: AESGCM, key: str, raw: bytes, where: bytes) -> SealedValue:
    """Seal the JSON text of a value; ``where`` binds it to its record and feature."""
    nonce = os.urandom(NONCE_BYTES)
    return SealedValue(key, base64.b64encode(nonce + cipher.encrypt(nonce, raw, where)).decode())


def open_value(cipher: AESGCM, sealed: SealedValue, where: bytes) -> bytes:
    """The JSON text of a sealed value.

    Raises:
        SealingError: another key, another place, or damaged.
    """
    try:
        box = base64.b64decode(sealed.box, validate=True)
        return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], where)
    except (InvalidTag, ValueError):
        raise SealingError(f"the value does not open under {sealed.key}") from None


def place_of(record_id: bytes, name: str) -> bytes:
    """What a sealed value is bound to: it cannot be moved to another record or feature."""
    return record_id + name.encode()


class NodeSealer:
    """Seals sensitive features on the node, before they reach the spool.

    Cost: about 2 us per value.
    """

    def __init__(self, master: MasterKey, node: str) -> None:
        self.key = f"node:{node}"
        self._cipher = master.derive(self.key)

    def seal(self, features: bytes, names: tuple[str, ...], record_id: bytes) -> bytes:
        """The features object with these values sealed; absent and null ones stay as they are."""
        values = _object(features)
        for name in names:
            raw = values.get(name)
            if raw is not None and bytes(raw) != b"null":
                sealed = seal_value(self._cipher, self.key, bytes(raw), place_of(record_id, name))
                values[name] = msgspec.Raw(_encode(sealed))
        return _encode(values)

    def open(self, raw: bytes, record_id: bytes, name: str) -> bytes:
        """The JSON text of a value that may be sealed by this node."""
        try:
            sealed = _sealed(raw)
        except msgspec.MsgspecError:
            return raw
        if sealed.key != self.key:
            raise SealingError(f"expected a value sealed by {self.key}, got {sealed.key}")
        return open_value(self._cipher, sealed, place_of(record_id, name))


class SubjectSealer:
    """The shipper's view: protected values apart, sensitive ones under their subject's key.

    ``stored`` never waits; keys it lacks are in :attr:`wanted` afterwards, and the caller fetches
    them and asks again.
    """

    def __init__(self, master: MasterKey, node: str) -> None:
        self._master = master
        self._node = NodeSealer(master, node)
        self._ciphers: OrderedDict[str, tuple[str, AESGCM]] = OrderedDict()
        self.wanted: set[str] = set()

    def stored(self, record: AuditRecord) -> tuple[bytes, dict[str, Any] | None]:
        """Features as they are stored, and protected values that are kept apart."""
        features, protected = split_protected(record.features, record.protected)
        if not record.sensitive:
            return features, protected
        name = record.subject_ref or f"~{day_of(record.received_ns // 1000).isoformat()}"
        known = self._ciphers.get(name)
        if known is None:
            self.wanted.add(name)
            return b"{}", protected
        self._ciphers.move_to_end(name)
        key, cipher = known
        values = _object(features)
        for feature in record.sensitive:
            raw = values.get(feature)
            if raw is not None and bytes(raw) != b"null":
                plain = self._node.open(bytes(raw), record.id, feature)
                sealed = seal_value(cipher, key, plain, place_of(record.id, feature))
                values[feature] = msgspec.Raw(_encode(sealed))
        return _encode(values), protected

    async def fetch(self, connection: asyncpg.Connection) -> None:
        """Read or make the wanted keys; a destroyed key is followed by a new generation."""
        names = {name: name for name in self.wanted}
        for generation in range(2, GENERATIONS):
            if not names:
                break
            for key in names.values():
                box = self._master.wrap(key, os.urandom(KEY_BYTES))
                await connection.execute(WRITE_KEY, key, box, self._master.id)
            rows = await connection.fetch(READ_KEYS, list(names.values()))
            found = {row["subject_ref"]: row["wrapped"] for row in rows}
            destroyed: dict[str, str] = {}
            for name, key in names.items():
                wrapped = found.get(key)
                if wrapped is None:
                    destroyed[name] = f"{name}#{generation}"
                else:
                    self._ciphers[name] = (key, AESGCM(self._master.unwrap(key, wrapped)))
            names = destroyed
        self.wanted.clear()
        while len(self._ciphers) > CACHED_KEYS:
            self._ciphers.popitem(last=False)

    def forget(self) -> None:
        """Drop all keys: one may have been destroyed."""
        self._ciphers.clear()


async def reveal(
    connection: asyncpg.Connection, master: MasterKey, record_id: bytes, features: bytes,
    *, actor: str, reason: str,
) -> bytes:  # fmt: skip
    """Features with their sensitive values opened; the reading is recorded before it happens.

    Values whose key was destroyed stay sealed.

    Raises:
        SealingError: a key or a value does not open.
    """
    values = _object(features)
    sealed: dict[str, SealedValue] = {}
    for name, raw in values.items():
        try:
            sealed[name] = _sealed(raw)
        except msgspec.MsgspecError:
            continue
    body = _encode({"reason": reason, "features": sorted(sealed)}).decode()
    await connection.execute(NOTE, "read.decrypted", None, as_uuid(record_id), actor, body)
    rows = await connection.fetch(READ_KEYS, list({each.key for each in sealed.values()}))
    boxes = {row["subject_ref"]: row["wrapped"] for row in rows if row["wrapped"] is not None}
    for name, each in sealed.items():
        if each.key in boxes:
            cipher = AESGCM(master.unwrap(each.key, boxes[each.key]))
            values[name] = msgspec.Raw(open_value(cipher, each, place_of(record_id, name)))
    return _encode(values)


async def erase(
    connection: asyncpg.Connection, subject_ref: str, *, actor: str, reason: str
) -> int:
    """Destroy a subject's keys; its sensitive values cannot be opened by anybody afterwards.

    Returns:
        Keys destroyed; the act is a linked event in the chain.

    Raises:
        SealingError: a legal hold forbids it.
    """
    async with connection.transaction():
        held = await connection.fetchval(HOLD)
        if held is not None:
            raise SealingError(
                f"a legal hold is on retention class {held!r}", code="audit.legal_hold"
            )
        rows = await connection.fetch(DESTROY, subject_ref)
        body = _encode({"reason": reason, "keys": [row[0] for row in rows]}).decode()
        await connection.execute(NOTE, "subject.erased", subject_ref, None, actor, body)
    return len(rows)
