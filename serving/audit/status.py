"""What the shipper tells about itself: one small JSON file beside the segments."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import msgspec
from msgspec import Struct

STATUS_FILE = "shipper.json"
RATE_WINDOW = 60
"""Samples over which the growth of the spool is measured; one a second."""


class Status(Struct):
    """State of a node's shipper.

    Attributes:
        node: name of the node.
        at_ns: wall clock of this report.
        shipped: frames brought to the database since the process started.
        quarantined: of these, frames that could not become rows.
        dropped: records that gaps stand for: the spool was full and the policy gave them up.
        failures: attempts that did not succeed.
        last_error: the last of them.
        spool_bytes: bytes of all segment files.
        segments: segments that the ledger does not close yet.
        exposure_ms: how long ago the database had everything; what a lost disk would take.
        hours_left: until the spool is full at the growth of the last minute; None when not growing.
        alarms: what an operator should look at.
    """

    node: str
    at_ns: int = 0
    shipped: int = 0
    quarantined: int = 0
    dropped: int = 0
    failures: int = 0
    last_error: str = ""
    spool_bytes: int = 0
    segments: int = 0
    exposure_ms: int = 0
    hours_left: float | None = None
    alarms: list[str] = []


_samples: dict[str, deque[tuple[int, int]]] = {}


def hours_left(samples: deque[tuple[int, int]], limit_bytes: int) -> float | None:
    """Hours until the spool is full, from (time ns, bytes) samples.

    >>> hours_left(deque([(0, 0), (3_600_000_000_000, 100)]), 300)
    2.0
    """
    if len(samples) < 2:
        return None
    (t0, b0), (t1, b1) = samples[0], samples[-1]
    if b1 <= b0 or t1 <= t0:
        return None
    per_hour = (b1 - b0) * 3_600_000_000_000 / (t1 - t0)
    return max(0.0, (limit_bytes - b1) / per_hour)


def write_status(folder: Path, status: Status, limit_bytes: int, now_ns: int) -> None:
    """Replace the status file; readers never see half of it."""
    samples = _samples.setdefault(str(folder), deque(maxlen=RATE_WINDOW))
    samples.append((now_ns, status.spool_bytes))
    status.at_ns = now_ns
    status.hours_left = hours_left(samples, limit_bytes)
    if not folder.is_dir():
        return
    draft = folder / (STATUS_FILE + ".new")
    draft.write_bytes(msgspec.json.encode(status))
    draft.replace(folder / STATUS_FILE)


def read_status(folder: Path) -> Status | None:
    """The last status of a node's shipper, or None when there is none."""
    try:
        return msgspec.json.decode((folder / STATUS_FILE).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
