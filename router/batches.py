"""Requests of many rows, decided by columns in a thread beside the event loop.

Their evidence is one columnar part each, in the spool before the answer leaves. A request that is
not plainly right, or has a row that is refused, is left to the way of single rows: what it answers
is the same, and it knows the words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

from router.columnar.decide import ColumnarEndpoint, Tally
from router.columnar.lines import requests_of
from router.columnar.tables import random_ids
from router.errors import AbandonedError, DeadlineError
from router.evidence import forces_parts
from router.settled import Trail, uuid_text
from router.turns import aside, beside
from router.wire.native import Row
from router.wire.v2_batch import Block, encode_batch
from router.wire.v2_columns import read_columns, row_count
from serving.audit.parts import About, Stored, note_part, store_part
from serving.audit.room import SpoolFull
from serving.audit.segment import SegmentWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from compiler.errors import AppError
    from router.decide import Decider
    from router.desk import Desk
    from router.wire.v2 import InferRequest
    from router.wire.v2_answer import Chosen

LEAST_ROWS = 64
"""Rows from which columns cost less than rows, and a part is worth its file."""
BLOCK_ROWS = 2048
"""Rows decided at once: a block keeps the interpreter from the loop for tenths of a millisecond."""
_perf = time.perf_counter_ns


class Call(Struct, frozen=True):
    """A request of the Open Inference Protocol.

    Attributes:
        request: its JSON part.
        tail: binary data behind it.
        chosen: outputs to give.
        shared: what the parameters say about every row.
        trail: where it came from.
    """

    request: InferRequest
    tail: bytes
    chosen: Chosen
    shared: Row
    trail: Trail

    @property
    def request_id(self) -> str | None:
        """The caller's own id."""
        return str(self.request.id) if self.request.id else None


class Decided(Struct, frozen=True):
    """An answer whose evidence is in the spool but for its record."""

    body: tuple[bytes, int | None]
    stored: Stored
    rows: int
    tally: tuple[tuple[Tally, Mapping[str, int]], ...]


class Batches:
    """Decides about the batches of one endpoint.

    Args:
        decider: of the endpoint; it keeps the evidence of batches that got no decision.
        desk: of the worker.
    """

    def __init__(self, decider: Decider, desk: Desk) -> None:
        self._decider = decider
        self._endpoint = decider.endpoint
        self._desk = desk
        self._function = ColumnarEndpoint(self._endpoint, subject_ref=desk.subject_ref)
        beside().submit(import_module, "pyarrow")  # now, and not within the first answer

    def takes(self, call: Call) -> bool:
        """Whether a request is one of many rows that leave a part."""
        endpoint = self._endpoint
        return (
            LEAST_ROWS <= row_count(call.request) <= endpoint.policies.max_rows
            and not call.shared.explain
            and call.trail[4] is None
            and not endpoint.suspended
        )

    async def answer(self, call: Call) -> tuple[bytes, int | None] | None:
        """Body of the answer and the bytes of its JSON part; None leaves it to single rows.

        Raises:
            DeadlineError: it would come too late.
        """
        work = _Work(self._function, self._desk.spool, call)
        try:
            found = await aside(work.run)
        except asyncio.CancelledError:
            work.wanted = False
            self._undecided(work, AbandonedError())
            raise
        except DeadlineError as error:
            self._undecided(work, error)
            raise
        if found is None or not self._note(call, found):
            return None
        return found.body

    def _note(self, call: Call, found: Decided) -> bool:
        """Append the record and count the rows; False without room for it."""
        key_id, received_ns, started_ns, traceparent, _ = call.trail
        policies, desk = self._endpoint.policies, self._desk
        about = About(
            self._endpoint.name, self._endpoint.number, key_id, received_ns, time.time_ns(),
            policies.durability, policies.retention_class, call.request_id, traceparent,
        )  # fmt: skip
        try:
            kept = note_part(desk.spool, found.stored, about, desk.next_id)
        except SpoolFull:
            return False
        elapsed_us = (_perf() - started_ns) // 1000
        values, meter = desk.counters.values, self._decider.meter
        meter.count(elapsed_us, found.rows)
        for tally, spent_ns in found.tally:
            left = dict(spent_ns)
            for arm, outcome, count in tally:
                values[arm.slots[outcome]] += count
                if outcome < len(meter.decision_slots):
                    values[meter.decision_slots[outcome]] += count
                values[arm.infer_slot] += left.pop(arm.model or "", 0)
        if elapsed_us > desk.slow_us:
            name = uuid_text(kept.id).decode()
            desk.slow.append((self._endpoint.name, name, elapsed_us))
        return True

    def _undecided(self, work: _Work, error: AppError) -> None:
        """Keep the evidence of a request that got no decision: its first row."""
        batch = work.batch if work.batch is not None else work.read()
        if batch is None:
            return
        row = requests_of(batch.slice(0, 1), self._endpoint.content.features)[0]
        assert isinstance(row, Row)
        row.id = work.call.request_id
        self._decider.record_error(row, error, work.call.trail)


class _Work:
    """One request in the thread.

    Attributes:
        call: the request.
        batch: its columns, when they have been read.
        wanted: somebody waits for the answer.
    """

    def __init__(self, function: ColumnarEndpoint, spool: SegmentWriter, call: Call) -> None:
        self.call = call
        self.batch: pa.RecordBatch | None = None
        self.wanted = True
        self._endpoint = function.endpoint
        self._function = function
        self._spool = spool

    def read(self) -> pa.RecordBatch | None:
        """Its columns; None when single rows have to look at it."""
        content, call = self._endpoint.content, self.call
        return read_columns(
            call.request, call.tail, self._endpoint.v2, content.features, call.shared
        )

    def run(self) -> Decided | None:
        """Decide, and put the evidence into the spool.

        Raises:
            DeadlineError: it is too late for an answer.
            AbandonedError: nobody wants it any more.
        """
        import pyarrow as pa

        self._in_time()
        self.batch = batch = self.read()
        if batch is None:
            return None
        now_us = self.call.trail[1] // 1000
        blocks, evidence, tally = [], [], []
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            part = batch.slice(start, BLOCK_ROWS)
            made = self._function.settle(part, now_us)
            if not made.whole:
                return None
            ids = random_ids(part.num_rows)
            evidence.append(self._function.evidence(part, made, first_row=start, ids=ids))
            blocks.append(Block(made, ids))
            tally.append((self._function.tally(made), made.spent_ns))
        self._in_time()
        content = self._endpoint.content
        body = encode_batch(self.call.request, content, self.call.chosen, self._function, blocks)
        table = pa.Table.from_batches(evidence).unify_dictionaries()
        try:
            stored = store_part(self._spool, table, forced=forces_parts(content.policies))
        except SpoolFull:
            return None
        return Decided(body, stored, batch.num_rows, tuple(tally))

    def _in_time(self) -> None:
        if not self.wanted:
            raise AbandonedError
        limit_ms = self.call.shared.timeout_ms or self._endpoint.policies.timeout_ms
        if _perf() - self.call.trail[2] > limit_ms * 1_000_000:
            raise DeadlineError(f"expected an answer within {limit_ms} ms")
