"""``POST /v1/stream/{endpoint}``: rows in, results out, in order, in constant memory.

A row that does not fit becomes ``{"row": n, "error": {...}}`` and the stream goes on. A row is in
the spool before it is sent: in a record of its own, or in a columnar part of some thousand rows, as
the release says. ``X-Start-Row`` numbers the rows of a stream that goes on after a break.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from compiler.errors import AppError
from router.app import Receive, Send, send_answer
from router.columnar.answers import Result
from router.columnar.ipc import BatchReader
from router.columnar.lines import requests_of
from router.endpoint import DECODING
from router.errors import BodyError, ShedError
from router.evidence import Evidence, keeps_parts
from router.handlers.stream_columns import stream_columns
from router.handlers.stream_format import ARROW, CSV, Format, format_of
from router.handlers.stream_source import chunks, grouped, lines_of, messages_of
from router.head import Head
from router.heavy import HeavyDecider
from router.plane import Plane
from router.problem import document
from router.settled import Settled, uuid_text
from router.wire.csv_rows import CsvReader
from router.wire.native import Row, decode_row, shape_error
from serving.batching.batcher import QueueFullError

if TYPE_CHECKING:
    from router.endpoint import Endpoint
    from router.plane import Bound

GROUP_ROWS = 64
"""Rows between two turns of the event loop: about a millisecond."""
QUEUE_PAUSE_S = 0.01
HEAR_OUT_S = 2.0
Item = Row | AppError


class Progress:
    """How far a stream is.

    Attributes:
        started: the answer has begun.
        row: number of the next row.
    """

    def __init__(self, row: int) -> None:
        self.started = False
        self.row = row


async def answer_stream(plane: Plane, head: Head, receive: Receive, send: Send) -> None:
    """A stream; what is wrong before its first line is an ordinary answer."""
    progress = Progress(head.start_row)
    form = format_of(head.content_type)

    async def note(message: dict[str, Any]) -> None:
        progress.started = True
        await send(message)

    try:
        if head.error is not None:
            raise head.error
        await stream(plane, head, receive, note, form, progress)
    except AppError as error:
        if not progress.started:
            await send_answer(send, plane.refuse(head, error, close=True))
            return
        await _say(send, form.broken(progress.row, error))
        await _hear_out(receive)
        await _say(send, b"", more=False)


async def _hear_out(receive: Receive) -> None:
    """Read and drop what the caller still sends, for a while.

    A connection that is closed with bytes unread is reset, and what its caller has not read by then
    is lost: the reason why the stream ended would be. Source: RFC 9112, section 9.6.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEAR_OUT_S):
            async for _ in chunks(receive):
                pass


async def stream(  # noqa: PLR0917 - one call, just above
    plane: Plane, head: Head, receive: Receive, send: Send, form: Format, progress: Progress
) -> None:
    """Decide about every row of a body of any length."""
    bound = plane.bound(head, time.time_ns())
    if plane.streams >= plane.settings.limits.streams:
        raise ShedError("too many streams are open on this worker", code="limit.streams")
    if head.encoding:
        raise BodyError("expected a stream without content-encoding", code="body.encoding")
    plane.streams += 1
    try:
        await send(form.start())
        if form.head():
            await _say(send, form.head())
        if keeps_parts(bound.decider.endpoint):
            answers = stream_columns(plane, bound, receive, form, head.start_row)
        else:
            answers = _rows(plane, bound, head, receive, form)
        async for count, body in answers:
            progress.row += count
            await _say(send, body)
            plane.go_on(head, bound)
        await _say(send, form.end, more=False)
    finally:
        plane.streams -= 1


async def _say(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _rows(
    plane: Plane, bound: Bound, head: Head, receive: Receive, form: Format
) -> AsyncIterator[tuple[int, bytes]]:
    """Every row by itself, with a record of its own; a turn for everybody else in between."""
    endpoint = bound.decider.endpoint
    evidence = Evidence(bound.decider, bound.key.id)
    number = head.start_row
    async for group in _items(receive, form, endpoint):
        started = time.perf_counter_ns()
        results = await _results(number, group, evidence, head)
        await plane.durable(endpoint, started)
        number += len(group)
        yield len(group), form.write(results)
        await asyncio.sleep(0)


async def _items(receive: Receive, form: Format, endpoint: Endpoint) -> AsyncIterator[list[Item]]:
    """Requests of the body by the few, whatever its form."""
    if form.content_type == ARROW:
        reader = BatchReader()
        async for message in messages_of(receive):
            batch = reader.take(message)
            if batch is None:
                continue
            for start in range(0, batch.num_rows, GROUP_ROWS):
                yield requests_of(batch.slice(start, GROUP_ROWS), endpoint.content.features)
        return
    lines = lines_of(receive)
    read: Callable[[bytes], Item] = _ndjson_row
    first: list[bytes] = []
    if form.content_type == CSV:
        first = await anext(lines, [b""]) or [b""]
        while first == [b""] and (some := await anext(lines, None)) is not None:
            first = some or [b""]
        read = CsvReader(first[0], endpoint.content).row
    for start in range(1, len(first), GROUP_ROWS):
        yield [read(line) for line in first[start : start + GROUP_ROWS]]
    async for group in grouped(lines, GROUP_ROWS):
        yield [read(line) for line in group]


def _ndjson_row(line: bytes) -> Item:
    try:
        return decode_row(line)
    except DECODING as error:
        return shape_error(error)


async def _results(first: int, group: list[Item], evidence: Evidence, head: Head) -> list[Result]:
    """The decided rows of a group, in order; those of costly models are scored together."""
    decider = evidence.decider
    numbered = enumerate(group, first)
    if not isinstance(decider, HeavyDecider):
        return [_result(number, item, evidence, head) for number, item in numbered]
    work = [_heavy_result(number, item, decider, evidence, head) for number, item in numbered]
    step = decider.at_once
    results: list[Result] = []
    for place in range(0, len(work), step):
        results += await asyncio.gather(*work[place : place + step])
    return results


async def _heavy_result(
    number: int, item: Item, decider: HeavyDecider, evidence: Evidence, head: Head
) -> Result:
    """One row that may go to a costly model."""
    if isinstance(item, AppError):
        return Result(number, error=document(item))
    while True:
        try:
            found = decider.begin([item], evidence.trail(head), batch=False)
            settled = found if isinstance(found, list) else await found()
        except QueueFullError:  # single requests go first; a stream has time
            await asyncio.sleep(QUEUE_PAUSE_S)
        except AppError as error:
            return Result(number, error=document(error))
        else:
            return _answer(number, settled[0])


def _result(number: int, item: Item, evidence: Evidence, head: Head) -> Result:
    """One decided row, or what is wrong with it."""
    if isinstance(item, AppError):
        return Result(number, error=document(item))
    try:
        settled = evidence.decider.one(item, evidence.trail(head))
    except AppError as error:
        return Result(number, error=document(error))
    return _answer(number, settled)


def _answer(number: int, settled: Settled) -> Result:
    record_id, arm, out, outputs, decision, _, _ = settled
    label, value = None, None
    if out is not None:
        if isinstance(out[0], str):
            label = out[0]
        else:
            value = out[0]
    return Result(
        number,
        uuid_text(record_id).decode(),
        arm.rule,
        arm.model,
        arm.version,
        decision,
        label,
        value,
        Raw(outputs),
    )
