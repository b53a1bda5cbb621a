"""Sensitive features: sealed in the record, openable by key, erased by destroying the key.

A sealed value stands in the features as ``{"$sealed": KEY, "box": BASE64}`` where the value was.
The hash of the record covers the sealed form, so that erasing a person breaks no chain. In the
spool the key is the node's own; the shipper seals again under a key of the subject (or of the day,
for records about nobody in particular), which Postgres holds wrapped by the master key.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import asyncpg
import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.audit.link import day_of
from serving.audit.privacy import split_protected
from serving.audit.record import AuditRecord
from serving.audit.row import as_uuid
from serving.audit.seal import (
    KEY_BYTES,
    WHOLE,
    MasterKey,
    NodeSealer,
    SealedValue,
    SealingError,
    open_value,
    place_of,
    read_object,
    read_sealed,
    seal_value,
    write_object,
)

CACHED_KEYS = 20_000
GENERATIONS = 100
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
HOLD = """
SELECT h.retention_class FROM audit_retention AS h
 WHERE h.legal_hold AND EXISTS (
       SELECT FROM audit_records AS r
        WHERE r.subject_ref = $1 AND r.retention_class = h.retention_class)
 LIMIT 1
"""
NOTE = """
INSERT INTO audit_events (kind, subject_ref, record_id, actor, body)
VALUES ($1, $2, $3, $4, $5::text::json)
"""


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
        values = read_object(features)
        for feature in (*record.sensitive, WHOLE):
            raw = values.get(feature)
            if raw is not None and bytes(raw) != b"null":
                plain = self._node.open(bytes(raw), record.id, feature)
                sealed = seal_value(cipher, key, plain, place_of(record.id, feature))
                values[feature] = msgspec.Raw(write_object(sealed))
        return write_object(values), protected

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
    values = read_object(features)
    sealed: dict[str, SealedValue] = {}
    for name, raw in values.items():
        try:
            sealed[name] = read_sealed(raw)
        except msgspec.MsgspecError:
            continue
    body = write_object({"reason": reason, "features": sorted(sealed)}).decode()
    await connection.execute(NOTE, "read.decrypted", None, as_uuid(record_id), actor, body)
    rows = await connection.fetch(READ_KEYS, list({each.key for each in sealed.values()}))
    boxes = {row["subject_ref"]: row["wrapped"] for row in rows if row["wrapped"] is not None}
    for name, each in sealed.items():
        if each.key in boxes:
            cipher = AESGCM(master.unwrap(each.key, boxes[each.key]))
            plain = open_value(cipher, each, place_of(record_id, name))
            if name == WHOLE:
                return plain
            values[name] = msgspec.Raw(plain)
    return write_object(values)


async def erase(
    connection: asyncpg.Connection, subject_ref: str, *, actor: str, reason: str
) -> int:
    """Destroy a subject's keys; its sensitive values cannot be opened by anybody afterwards.

    Returns:
        Keys destroyed; the act is a linked event in the chain.

    Raises:
        SealingError: a legal hold is on a class that holds records of the subject.
    """
    async with connection.transaction():
        held = await connection.fetchval(HOLD, subject_ref)
        if held is not None:
            raise SealingError(
                f"a legal hold is on retention class {held!r}", code="audit.legal_hold"
            )
        rows = await connection.fetch(DESTROY, subject_ref)
        body = write_object({"reason": reason, "keys": [row[0] for row in rows]}).decode()
        await connection.execute(NOTE, "subject.erased", subject_ref, None, actor, body)
    return len(rows)
