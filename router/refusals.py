"""Requests that leave no record of their own, counted per key and minute in one summary event.

Nobody can fill the evidence with requests that were never decided: 400, 401, 403, 404, 413, 429
and 503 cost a dict entry, and what strangers send is summed under one name.
"""

from __future__ import annotations

import msgspec

from router.desk import Desk
from serving.audit.record import SCHEMA_VERSION, EventRecord
from serving.audit.room import SpoolFull

STRANGER = "-"
MAX_ENTRIES = 4096


class RefusalCount(msgspec.Struct, frozen=True):
    """One line of a summary: how often a key met a problem."""

    key: str
    endpoint: str
    status: int
    code: str
    count: int


class Refusals:
    """Counts of one worker since the last summary."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._counts: dict[tuple[str, str, int, str], int] = {}

    def count(self, key: str | None, endpoint: str, status: int, code: str) -> None:
        """Note one refused request; strangers never choose a name that is kept."""
        entry = (key or STRANGER, endpoint if key else "", status, code)
        if entry not in self._counts and len(self._counts) >= MAX_ENTRIES:
            entry = (STRANGER, "", status, code)
        self._counts[entry] = self._counts.get(entry, 0) + 1

    def flush(self, now_ns: int) -> int:
        """Write the summary into the spool; returns how many lines it had."""
        if not self._counts:
            return 0
        lines = [RefusalCount(*entry, count) for entry, count in self._counts.items()]
        body = msgspec.json.encode({"node": self._desk.node, "refusals": lines})
        actor = f"router/{self._desk.node}/{self._desk.worker}"
        event = EventRecord(
            SCHEMA_VERSION,
            self._desk.next_id(now_ns),
            now_ns,
            "refusals",
            None,
            None,
            None,
            actor,
            body,
        )
        try:
            self._desk.event(event)
        except SpoolFull:
            return 0  # kept for the next minute
        self._counts.clear()
        return len(lines)
