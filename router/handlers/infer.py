"""``POST /v2/models/{endpoint}/infer``: the Open Inference Protocol over the same decisions."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from router.batches import Batches, Call
from router.decide import Decider
from router.endpoint import Endpoint
from router.errors import AbandonedError
from router.head import Head
from router.heavy import HeavyDecider, Work
from router.later import Later
from router.plane import Answer, Plane, Soon
from router.problem import Reply
from router.settled import Settled, Trail
from router.turns import TURN_ROWS, aside
from router.wire.native import Row
from router.wire.v2 import read_rows, shared_row, split_body
from router.wire.v2_answer import choose_outputs, encode_answer
from router.wire.v2_columns import row_count

OCTETS = b"application/octet-stream"
_perf = time.perf_counter_ns
_wall = time.time_ns


def infer(plane: Plane, head: Head, body: bytes) -> Soon:
    """Decide about a batch of rows."""
    started = _perf()
    received = _wall()
    bound = plane.bound(head, received)
    decider = bound.decider
    endpoint = decider.endpoint
    if head.encoding:
        body = plane.inflate(head, body)
    trail = (bound.key.id, received, started, head.traceparent, head.idempotency)
    known = endpoint.known.find(body, head.json_bytes)
    if known is not None and not isinstance(decider, HeavyDecider):
        row, frame = known
        return _reply(*frame.write(decider.one(row, trail)))
    request, tail = split_body(body, head.json_bytes, endpoint.v2)
    chosen = choose_outputs(request, endpoint.v2)
    call = Call(request, tail, chosen, shared_row(request.parameters), trail)
    if decider.batches is not None and decider.batches.takes(call):
        return Later(partial(_by_columns, decider, decider.batches, call))
    if row_count(request) > TURN_ROWS:
        return Later(partial(_row_by_row, decider, call))
    rows = _rows(endpoint, call)
    if len(rows) == 1 and known is None:
        endpoint.known.learn(body, head.json_bytes, request, rows[0])
    if isinstance(decider, HeavyDecider):
        found = decider.begin(rows, trail, batch=len(rows) > 1)
        if isinstance(found, list):
            return _write(endpoint, call, found)
        return Later(partial(_scored, endpoint, call, found))
    single = len(rows) == 1
    settled = [decider.one(rows[0], trail)] if single else decider.many(rows, trail)
    return _write(endpoint, call, settled)


async def _by_columns(decider: Decider, batches: Batches, call: Call) -> Answer:
    answer = await batches.answer(call)
    return await _row_by_row(decider, call) if answer is None else _reply(*answer)


async def _row_by_row(decider: Decider, call: Call) -> Answer:
    """Many rows, without holding up others."""
    reading = aside(_rows, decider.endpoint, call)
    try:
        rows = await asyncio.shield(reading)
    except asyncio.CancelledError:
        reading.add_done_callback(partial(_gone, decider, call.trail))
        raise
    if isinstance(decider, HeavyDecider):
        found = decider.begin(rows, call.trail, batch=True)
        settled = found if isinstance(found, list) else await found()
    else:
        settled = await decider.many_in_turns(rows, call.trail)
    return await aside(_write, decider.endpoint, call, settled)


def _gone(decider: Decider, trail: Trail, reading: asyncio.Future[list[Row]]) -> None:
    """Record a request whose caller left while its rows were read."""
    if not reading.cancelled() and reading.exception() is None:
        decider.record_error(reading.result()[0], AbandonedError(), trail)


async def _scored(endpoint: Endpoint, call: Call, work: Work) -> Answer:
    return _write(endpoint, call, await work())


def _rows(endpoint: Endpoint, call: Call) -> list[Row]:
    """The rows of a request, one by one."""
    request = call.request
    rows = read_rows(request, call.tail, endpoint.v2, endpoint.policies.max_rows, call.shared)
    if request.id:
        for row in rows:
            row.id = str(request.id)
    return rows


def _write(endpoint: Endpoint, call: Call, settled: list[Settled]) -> Answer:
    return _reply(*encode_answer(call.request, endpoint.content, call.chosen, settled))


def _reply(answer: bytes, json_bytes: int | None) -> Answer:
    """An answer; what has binary data says how long its JSON part is."""
    if json_bytes is None:
        return answer
    size = (b"inference-header-content-length", b"%d" % json_bytes)
    return Reply(200, answer, OCTETS, (size,))
