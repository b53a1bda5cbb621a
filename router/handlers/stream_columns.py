"""A stream by columns: blocks of rows decided beside the event loop, evidence in parts.

Blocks are read, decided and encoded in a thread of their own, one for all streams of a worker, that
gives way to the loop: a block keeps the interpreter for a few tenths of a millisecond at a time,
and ONNX Runtime not at all. The rows of a part are answered when it is in the spool and its record
behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from router.app import Receive
from router.columnar.answers import Result, results_of
from router.columnar.decide import ColumnarEndpoint, Tally
from router.columnar.ipc import BatchReader, Message
from router.columnar.lines import LineReader, Refused
from router.columnar.tables import random_ids
from router.evidence import forces_parts
from router.handlers.stream_format import ARROW, CSV, Format
from router.handlers.stream_source import grouped, lines_of, messages_of
from router.problem import document, status_of
from router.wire.csv_rows import CsvReader
from serving.audit.parts import About, Stored, note_part, store_part
from serving.priority import give_way

if TYPE_CHECKING:
    import pyarrow as pa

    from router.plane import Bound, Plane

PART_ROWS = 8192
"""Rows of a part: answers wait for the last of them."""
BLOCK_ROWS = 2048
"""Rows decided at once: half as many cost a fifth more each, twice as many hold the loop longer."""
RECORDED = 422
_json = msgspec.json.Encoder().encode


class Block(Struct, frozen=True):
    """Rows that are decided and not yet answered.

    Attributes:
        rows: all of them.
        body: their answers.
        evidence: of the rows that were rows.
        tally: for the counters.
    """

    rows: int
    body: bytes
    evidence: tuple[pa.Table, ...]
    tally: Tally


@cache
def _executor() -> ThreadPoolExecutor:
    """The thread of this worker's streams."""
    return ThreadPoolExecutor(1, "streams", initializer=give_way)


async def stream_columns(
    plane: Plane, bound: Bound, receive: Receive, form: Format, first_row: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Numbers of rows and their answers, in order; each part of them is safe in the spool."""
    work = ColumnStream(plane, bound, form, first_row)
    loop = asyncio.get_running_loop()
    pending: list[Block] = []
    waiting = 0
    async for step in work.steps(receive):
        blocks: list[Block] = await loop.run_in_executor(_executor(), step)
        pending += blocks
        waiting += sum(block.rows for block in blocks)
        if waiting >= PART_ROWS:
            yield waiting, await work.keep(pending)
            pending, waiting = [], 0
    if waiting:
        yield waiting, await work.keep(pending)


class ColumnStream:
    """One stream.

    Args:
        plane: whose desk keeps the evidence.
        bound: endpoint and key.
        form: of rows and answers.
        first_row: number of the first row.
    """

    def __init__(self, plane: Plane, bound: Bound, form: Format, first_row: int) -> None:
        self._plane = plane
        self._desk = plane.desk
        self._endpoint = bound.decider.endpoint
        self._key_id = bound.key.id
        self._form = form
        self._row = first_row
        self._function = ColumnarEndpoint(self._endpoint, subject_ref=self._desk.subject_ref)
        self._began_ns = 0
        self._batch: Any = None

    async def steps(self, receive: Receive) -> AsyncIterator[Callable[[], list[Block]]]:
        """Work for the thread, in order."""
        if self._form.content_type == ARROW:
            reader = BatchReader()
            async for message in messages_of(receive):
                yield partial(self._message, reader, message)
                batch, self._batch = self._batch, None
                for start in range(0, 0 if batch is None else batch.num_rows, PART_ROWS):
                    yield partial(self._slices, batch.slice(start, PART_ROWS))
            return
        lines = lines_of(receive)
        read = None
        if self._form.content_type == CSV:
            first: list[bytes] = []
            while not first and (some := await anext(lines, None)) is not None:
                first = some
            read = CsvReader(first[0] if first else b"", self._endpoint.content).row
            lines = _chain(first[1:], lines)
        taker = LineReader(self._endpoint, read)
        async for group in grouped(lines, BLOCK_ROWS):
            yield partial(self._lines, taker, group)

    async def keep(self, blocks: list[Block]) -> bytes:
        """Put the evidence of some blocks into the spool; their answers.

        Raises:
            SpoolFull: no room; none of these rows may be answered.
            ShedError: the evidence is not as durable as the endpoint promises.
        """
        started = time.perf_counter_ns()
        began_ns, self._began_ns = self._began_ns, 0
        tables = [table for block in blocks for table in block.evidence if table.num_rows]
        if tables:
            loop = asyncio.get_running_loop()
            stored = await loop.run_in_executor(_executor(), partial(self._store, tables))
            policies = self._endpoint.policies
            about = About(
                self._endpoint.name, self._endpoint.number, self._key_id, began_ns,
                time.time_ns(), policies.durability, policies.retention_class,
            )  # fmt: skip
            note_part(self._desk.spool, stored, about, self._desk.next_id)
        values = self._desk.counters.values
        for block in blocks:
            for arm, outcome, count in block.tally:
                values[arm.slots[outcome]] += count
        await self._plane.durable(self._endpoint, started)
        return b"".join([block.body for block in blocks])

    # in the thread ------------------------------------------------------------------------------

    def _store(self, tables: list[pa.Table]) -> Stored:
        import pyarrow as pa

        whole = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
        if "features" in whole.column_names:  # refused rows stand behind their block
            whole = whole.sort_by("row")
        forced = forces_parts(self._endpoint.policies)
        return store_part(self._desk.spool, whole.combine_chunks(), forced=forced)

    def _message(self, reader: BatchReader, message: Message) -> list[Block]:
        """Decode a message; its rows are the steps that follow, a part of them at a time."""
        self._batch = reader.take(message)
        return []

    def _slices(self, batch: pa.RecordBatch) -> list[Block]:
        starts = range(0, batch.num_rows, BLOCK_ROWS)
        return [self._block(batch.slice(start, BLOCK_ROWS), {}) for start in starts]

    def _lines(self, taker: LineReader, lines: list[bytes]) -> list[Block]:
        return [self._block(*taker.columns(lines))]

    def _block(self, batch: pa.RecordBatch, refused: dict[int, Refused]) -> Block:
        """Decide about the rows of a batch; refused ones stand between them."""
        import numpy as np
        import pyarrow as pa

        now_ns = time.time_ns()
        self._began_ns = self._began_ns or now_ns
        rows, first = batch.num_rows + len(refused), self._row
        self._row += rows
        ids = random_ids(rows)
        sound = np.ones(rows, bool)
        sound[list(refused)] = False
        places = np.flatnonzero(sound)
        found = self._function.decide(
            batch, first_row=first, now_us=now_ns // 1000, ids=ids[places]
        )
        result, evidence = found.result, pa.Table.from_batches([found.evidence])
        if refused:
            numbers = pa.array(first + places, pa.int64())
            result = result.set_column(0, result.schema.field(0), numbers)
            evidence = evidence.set_column(0, evidence.schema.field(0), numbers)
        tables = (evidence, *self._refused(first, ids, refused))
        if self._form.content_type == ARROW:
            return Block(rows, result.serialize().to_pybytes(), tables, found.tally)
        documents = {
            first + int(places[place]): document(error) for place, error in found.problems.items()
        }
        results = results_of(result, documents)
        for place, each in sorted(refused.items()):
            results.insert(place, Result(first + place, error=document(each.error)))
        return Block(rows, self._form.write(results), tables, found.tally)

    def _refused(self, first: int, ids: Any, refused: dict[int, Refused]) -> tuple[pa.Table, ...]:
        """Evidence of rows that were about this endpoint's features and got no decision."""
        import pyarrow as pa

        kept = [
            {
                "row": first + place,
                "id": ids[place].tobytes(),
                "request_id": each.row.id,
                "subject_ref": (
                    None if each.row.subject is None else self._desk.subject_ref(each.row.subject)
                ),
                "rule": None,
                "status": RECORDED,
                "features": bytes(each.row.features),
                "error": _json(document(each.error)).decode(),
            }
            for place, each in sorted(refused.items())
            if each.row is not None and status_of(each.error) == RECORDED
        ]
        if not kept:
            return ()
        names = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema(
            [
                ("row", pa.int64()), ("id", pa.binary(16)), ("request_id", pa.string()),
                ("subject_ref", pa.string()), ("rule", names), ("status", pa.int16()),
                ("features", pa.binary()), ("error", pa.string()),
            ]
        )  # fmt: skip
        return (pa.Table.from_pylist(kept, schema),)


async def _chain(
    first: list[bytes], rest: AsyncIterator[list[bytes]]
) -> AsyncIterator[list[bytes]]:
    yield first
    async for some in rest:
        yield some
