"""One decision as the hot path hands it to what encodes it."""

from __future__ import annotations

import binascii
import struct
from typing import Any

from router.arms import Arm

Trail = tuple[str, int, int, str | None, str | None]
"""Key id, wall clock at receipt (ns), performance counter then (ns), traceparent, idempotency."""
Settled = tuple[bytes, Arm, Any, bytes, str | None, str | None, bytes]
"""Record id, arm, model outputs (None without a model), their JSON, decision, its rule, the end of
the native answer."""

_hex = binascii.hexlify
_groups = struct.Struct("8s4s4s4s12s").unpack
_dashed = b"-".join


def uuid_text(record_id: bytes) -> bytes:
    """A record's id as answers show it."""
    return _dashed(_groups(_hex(record_id)))
