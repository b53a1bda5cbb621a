"""``POST /v1/stream/{endpoint}``: lines in, lines out, in order, in constant memory.

Rows are decided in small groups with a turn for everybody else in between. A row that does not fit
becomes ``{"row": n, "error": {...}}`` and the stream goes on. A row is in the spool before it is
sent: in a record of its own, or in a columnar part of some thousand rows, as the release says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from compiler.errors import AppError
from router.app import Receive, Send, send_answer
from router.endpoint import DECODING
from router.errors import BodyError, ShedError, TooLargeError
from router.evidence import Evidence, evidence_of
from router.head import Head
from router.heavy import HeavyDecider
from router.plane import Plane
from router.problem import ProblemDocument, document
from router.settled import Settled, uuid_text
from router.wire.csv_rows import CsvReader
from router.wire.native import Row, decode_row, shape_error
from serving.batching.batcher import QueueFullError

NDJSON = b"application/x-ndjson"
CSV = b"text/csv"
GROUP_ROWS = 64
"""Rows between two turns of the event loop: about a millisecond."""
MAX_LINE = 1 << 20
QUEUE_PAUSE_S = 0.01
COLUMNS = "row,id,rule,model,version,decision,label,value,outputs,error"
_json = msgspec.json.Encoder().encode
Item = Row | AppError


class Result(Struct, omit_defaults=True):
    """One line of the answer; the same whatever the route."""

    row: int
    id: str = ""
    rule: str = ""
    model: str | None = None
    version: int | None = None
    decision: str | None = None
    label: str | None = None
    value: float | int | None = None
    outputs: Raw | None = None
    error: ProblemDocument | None = None


async def answer_stream(plane: Plane, head: Head, receive: Receive, send: Send) -> None:
    """A stream; what is wrong before its first line is an ordinary answer."""
    started = False

    async def note(message: dict[str, Any]) -> None:
        nonlocal started
        started = True
        await send(message)

    try:
        if head.error is not None:
            raise head.error
        await stream(plane, head, receive, note)
    except AppError as error:
        if not started:
            await send_answer(send, plane.refuse(head, error, close=True))
            return
        line = _json({"error": document(error)}) + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": False})


async def stream(plane: Plane, head: Head, receive: Receive, send: Send) -> None:
    """Decide about every line of a body of any length."""
    now = time.time_ns()
    bound = plane.bound(head, now)
    if plane.streams >= plane.settings.limits.streams:
        raise ShedError("too many streams are open on this worker", code="limit.streams")
    if head.encoding:
        raise BodyError("expected a stream without content-encoding", code="body.encoding")
    kind = CSV if head.content_type.startswith(CSV) else NDJSON
    write = _csv_line if kind == CSV else _json_line
    reader: Callable[[bytes], Item] = _ndjson_row
    lines = _lines(receive)
    plane.streams += 1
    try:
        await send(_start(kind))
        if kind == CSV:
            await send(
                {"type": "http.response.body", "body": COLUMNS.encode() + b"\n", "more_body": True}
            )
            reader = CsvReader(await anext(lines, b""), bound.decider.endpoint.content).row
        count = 0
        evidence = evidence_of(plane, bound)
        body = bytearray()

        async def answer() -> None:
            started = time.perf_counter_ns()
            await evidence.keep()
            await plane.durable(bound.decider.endpoint, started)
            await send({"type": "http.response.body", "body": bytes(body), "more_body": True})
            body.clear()

        async for group in _groups(lines):
            for result in await _results(count, group, reader, evidence, head):
                body += write(result)
            count += len(group)
            if evidence.full:
                await answer()
            await asyncio.sleep(0)
        if body:
            await answer()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        plane.streams -= 1


def _start(kind: bytes) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


async def _lines(receive: Receive) -> AsyncIterator[bytes]:
    """Lines of the body; the last one needs no newline."""
    rest = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = bool(message.get("more_body"))
        *whole, rest = (rest + message.get("body", b"")).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(rest) > MAX_LINE:
            raise TooLargeError(f"expected lines of at most {MAX_LINE} bytes")
    if rest.strip():
        yield rest


async def _groups(lines: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Lines by the few."""
    group: list[bytes] = []
    async for line in lines:
        group.append(line)
        if len(group) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _ndjson_row(line: bytes) -> Item:
    try:
        return decode_row(line)
    except DECODING as error:
        return shape_error(error)


async def _results(
    first: int, group: list[bytes], reader: Callable[[bytes], Item], evidence: Evidence, head: Head
) -> list[Result]:
    """The decided rows of a group, in order; those of costly models are scored together."""
    decider = evidence.decider
    numbered = enumerate(map(reader, group), first)
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
        trail = evidence.trail(number, head)
        try:
            found = decider.begin([item], trail, batch=False)
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
        settled = evidence.decider.one(item, evidence.trail(number, head))
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


def _json_line(result: Result) -> bytes:
    return _json(result) + b"\n"


def _csv_line(result: Result) -> bytes:
    cells = (
        result.row,
        result.id,
        result.rule,
        result.model,
        result.version,
        result.decision,
        result.label,
        result.value,
        None if result.outputs is None else bytes(result.outputs).decode(),
        None if result.error is None else _json(result.error).decode(),
    )
    return (",".join(map(_cell, cells)) + "\n").encode()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    if any(each in text for each in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
