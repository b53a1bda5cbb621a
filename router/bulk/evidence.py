"""What a job leaves in the audit: an event for each of its steps, a columnar part per output part.

The audit part is in the spool, and its record behind it, before the output part becomes visible.
A job that was killed between the two does the unit again and registers the same part twice: equal
bytes have one name, and both records say so.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from router.bulk.errors import BulkError
from router.evidence import forces_parts
from serving.audit.parts import About, note_part, store_part
from serving.audit.record import SCHEMA_VERSION, EventRecord, encode_record, uuid7_source
from serving.audit.room import SpoolFull, spool_bytes
from serving.audit.segment import SegmentWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from router.bulk.manifest import Job
    from router.endpoint import Endpoint

WORKER = 255
"""Number of a job among the workers of its node; only part of random ids."""
SHARE = 4
"""A job takes at most this part of the spool's limit and then waits for the shipper."""
SEGMENT_BYTES = 1 << 20
LOOK_S = 0.2


class Evidence:
    """The records of one job.

    Args:
        spool: writer of this process.
        job: what they are about.
        endpoint: pinned.
        actor: who runs it.
        limit_bytes: of the node's spool; online requests keep what the job leaves.
        wait_s: how long it waits for the shipper before it stops.
    """

    def __init__(
        self,
        spool: SegmentWriter,
        job: Job,
        endpoint: Endpoint,
        actor: str,
        *,
        limit_bytes: int,
        wait_s: float = 300.0,
    ) -> None:
        self._spool = spool
        self._job = job
        self._policies = endpoint.policies
        self._actor = actor
        self._limit_bytes = limit_bytes // SHARE
        self._wait_s = wait_s
        self._next_id = uuid7_source(WORKER)
        self._records = 0

    def event(self, what: str, **detail: Any) -> None:
        """Keep one step of the job: ``bulk.started``, ``bulk.finished``, ...

        Raises:
            SpoolFull: no room.
        """
        now = time.time_ns()
        job = self._job
        body = {
            "job": job.id, "release": job.number, "digest": job.digest, "source": job.source,
            "inputs": len(job.inputs), **detail,
        }  # fmt: skip
        record = EventRecord(
            SCHEMA_VERSION, self._next_id(now), now, what, job.endpoint, None, None, self._actor,
            msgspec.json.encode(body), self._policies.retention_class,
        )  # fmt: skip
        self._spool.append_event(encode_record(record))

    def keep(self, rows: pa.Table, span_ns: tuple[int, int]) -> str:
        """Keep the evidence of one unit.

        Args:
            rows: as :mod:`serving.audit.parts` wants them.
            span_ns: wall clock before its first row and after its last.

        Returns:
            Digest of the part; empty when no row was one.

        Raises:
            SpoolFull: no room, and the shipper made none in time.
            PartError: the table is no evidence.
        """
        if rows.num_rows == 0:
            return ""
        self._wait_for_room()
        job, policies = self._job, self._policies
        forced = forces_parts(policies)
        stored = store_part(self._spool, rows, forced=forced)
        about = About(
            job.endpoint, job.number, self._actor, *span_ns, policies.durability,
            policies.retention_class, f"bulk-{job.id}",
        )  # fmt: skip
        note_part(self._spool, stored, about, self._next_id)
        if forced:  # else results on the disk could outlive their evidence
            self._spool.sync()
        self._records += 1
        self._spool.answered = self._records - 1
        self._spool.count_answer()
        return stored.summary.part

    def _wait_for_room(self) -> None:
        """Give the shipper time: a job must not fill what online requests need."""
        deadline = time.monotonic() + self._wait_s
        while (used := spool_bytes(self._spool.folder)) > self._limit_bytes:
            if time.monotonic() > deadline:
                raise SpoolFull(
                    f"the spool holds {used} bytes, a job may fill {self._limit_bytes}",
                    at=str(self._spool.folder),
                    hint="is the shipper running and PostgreSQL there? then --resume",
                )
            time.sleep(LOOK_S)


def need_open(endpoint: Endpoint) -> None:
    """Check that parts may hold the features: protected ones are left out, sealed ones cannot be.

    Raises:
        BulkError: some are sensitive.
    """
    names = [name for name, each in endpoint.content.features.items() if each.sensitive]
    if names:
        raise BulkError(
            f"features {', '.join(names[:5])} of {endpoint.name} are sensitive, and columnar "
            "evidence would hold them in the clear",
            code="bulk.sensitive",
            hint="send these rows through the stream, which keeps sealed records",
        )


def protected_names(endpoint: Endpoint) -> frozenset[str]:
    """Features that never reach a rule or a model, and that parts do not hold."""
    return frozenset(n for n, each in endpoint.content.features.items() if each.protected)
