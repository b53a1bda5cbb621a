"""What the node routes answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct


class WorkerRow(Struct):
    """One router worker as it last reported."""

    node: str
    worker: int
    pid: int
    port: int
    loaded: Any
    """What it serves: endpoint -> release number, digest, refusals."""
    info: Any
    since: datetime
    seen_at: datetime
    age_s: float
    alive: bool
    """Whether it reported within the last 15 s."""
