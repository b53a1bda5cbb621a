"""What a stream leaves behind: a record per row, or a columnar part per few thousand rows."""

from __future__ import annotations

import asyncio
import copy
import time
from typing import TYPE_CHECKING, Any

from router.decide import Decider
from router.head import Head
from router.settled import Trail
from serving.audit.parts import About, Stored, note_part, store_part
from serving.audit.record import AuditRecord, decode_record

if TYPE_CHECKING:
    from router.plane import Bound, Plane

PART_ROWS = 8192
"""Rows of a part: answers wait for the last of them."""


class Evidence:
    """Every row has its own record, appended when it is decided.

    Attributes:
        decider: decides the rows.
        full: the rows decided so far are to be kept and answered now.
    """

    full = True

    def __init__(self, decider: Decider, key_id: str) -> None:
        self.decider = decider
        self.key_id = key_id

    def trail(self, number: int, head: Head) -> Trail:
        """Where a row came from."""
        return self.key_id, time.time_ns(), time.perf_counter_ns(), head.traceparent, None

    async def keep(self) -> None:
        """Return when the rows decided so far are in the spool."""


class PartEvidence(Evidence):
    """Rows are collected and kept together, in the form that bulk jobs use.

    Args:
        plane: whose desk keeps the part.
        bound: endpoint and key of the stream.
    """

    def __init__(self, plane: Plane, bound: Bound) -> None:
        from router.plane import decider_of

        self._desk = plane.desk
        self._payloads: list[bytes] = []
        self._endpoint = bound.decider.endpoint
        collecting = copy.copy(plane.desk)
        collecting.append = self._take
        super().__init__(decider_of(self._endpoint, collecting), bound.key.id)

    @property
    def full(self) -> bool:  # type: ignore[override]
        """Whether there are rows enough for a part."""
        return len(self._payloads) >= PART_ROWS

    def trail(self, number: int, head: Head) -> Trail:
        """Where a row came from; its number travels where single requests have their key."""
        wall, counter = time.time_ns(), time.perf_counter_ns()
        return self.key_id, wall, counter, head.traceparent, str(number)

    async def keep(self) -> None:
        """Write the part in a thread, then append its record.

        Raises:
            SpoolFull: no room; none of these rows may be answered.
        """
        payloads, self._payloads = self._payloads, []
        if not payloads:
            return
        stored, first_ns, last_ns = await asyncio.to_thread(self._store, payloads)
        policies = self._endpoint.policies
        about = About(
            self._endpoint.name, self._endpoint.number, self.key_id, first_ns, last_ns,
            policies.durability, policies.retention_class,
        )  # fmt: skip
        note_part(self._desk.spool, stored, about, self._desk.next_id)

    def _take(self, payload: bytes) -> int:
        self._payloads.append(payload)
        return 0

    def _store(self, payloads: list[bytes]) -> tuple[Stored, int, int]:
        records = [decode_record(each) for each in payloads]
        records.sort(key=_number)
        stored = store_part(self._desk.spool, table_of(records))
        first_ns = min(each.received_ns for each in records)
        return stored, first_ns, max(each.decided_ns for each in records)


def _number(record: AuditRecord) -> int:
    return int(record.idempotency_key or 0)


def table_of(records: list[AuditRecord]) -> Any:
    """Records of rows as the table of a part."""
    import pyarrow as pa

    def text(name: str) -> Any:
        return pa.array([getattr(each, name) for each in records], pa.string())

    def raw(name: str) -> Any:
        return pa.array([getattr(each, name) for each in records], pa.binary())

    columns = {
        "row": pa.array([_number(each) for each in records], pa.int64()),
        "id": pa.array([each.id for each in records], pa.binary(16)),
        "status": pa.array([each.status for each in records], pa.int16()),
        "version": pa.array([each.version for each in records], pa.int32()),
    }
    for name in ("request_id", "subject_ref"):
        columns[name] = text(name)
    for name in ("rule", "model", "package_digest", "decision", "decision_rule"):
        columns[name] = text(name).dictionary_encode()
    for name in ("features", "context", "outputs", "error"):
        columns[name] = raw(name)
    return pa.table(columns)


def evidence_of(plane: Plane, bound: Bound) -> Evidence:
    """What the release of an endpoint wants its streams to leave.

    Parts go to the artifact store as they are, so an endpoint whose records are sealed or split
    keeps single records.
    """
    endpoint = bound.decider.endpoint
    features = endpoint.content.features.values()
    private = any(each.sensitive or each.protected for each in features)
    if endpoint.policies.stream_evidence == "parts" and not private:
        return PartEvidence(plane, bound)
    return Evidence(bound.decider, bound.key.id)
