"""One decision as the hot path hands it to what encodes it."""

from __future__ import annotations

from typing import Any

from router.arms import Arm

Trail = tuple[str, int, int, str | None, str | None]
"""Key id, wall clock at receipt (ns), performance counter then (ns), traceparent, idempotency."""
Settled = tuple[bytes, Arm, Any, bytes, str | None, str | None, bytes]
"""Record id, arm, model outputs (None without a model), their JSON, decision, its rule, the end of
the native answer."""


def uuid_text(record_id: bytes) -> bytes:
    """A record's id as answers show it."""
    text = record_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}".encode()
