"""The chain of batch roots, and the statements that are signed about it.

Every batch has one place in one chain per database. The head at a place commits to everything
before it; a signed checkpoint fixes a head in the hands of whoever keeps a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from hashlib import sha256

import msgspec
from msgspec import Struct

CHAIN = b"\x02"
GENESIS = sha256(b"interlock/audit/v1").digest()
"""Head before the first batch."""

CHECKPOINT_TYPE = "application/vnd.interlock.checkpoint+json"
DISPOSAL_TYPE = "application/vnd.interlock.disposal+json"
CERTIFICATE_TYPE = "application/vnd.interlock.completeness+json"


class Batch(Struct, frozen=True, array_like=True):
    """One Merkle batch: rows of one kind, one retention class, one day (UTC).

    Attributes:
        id: number of the batch.
        kind: ``records``, ``events`` or ``explanations``.
        retention_class: class of all its rows.
        day: day of all its rows.
        leaves: number of rows.
        root: Merkle root over them, in the order of their ``leaf``.
    """

    id: int
    kind: str
    retention_class: str
    day: date
    leaves: int
    root: bytes


class Checkpoint(Struct, frozen=True):
    """What is signed: the chain had this head at this position at this time.

    Attributes:
        position: place in the chain.
        head: hex of the head there.
        signed_at: RFC 3339 time.
    """

    position: int
    head: str
    signed_at: str


_pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


def next_head(previous: bytes, position: int, batch: Batch) -> bytes:
    """Head of the chain after ``batch`` took ``position``."""
    return sha256(CHAIN + previous + _pack((position, batch))).digest()
