"""``POST /v1/predict``: decode, decide, encode."""

from __future__ import annotations

import time
from functools import partial

import msgspec

from router.decide import Decider, native_answer
from router.endpoint import DECODING
from router.head import Head
from router.heavy import HeavyDecider
from router.later import Later
from router.plane import Answer, Plane, Soon
from router.settled import Settled, Trail
from router.turns import TURN_ROWS, aside
from router.wire.native import Row, decode_row, decode_rows

_perf = time.perf_counter_ns
_wall = time.time_ns
_json = msgspec.json.encode


def predict(plane: Plane, head: Head, body: bytes) -> Soon:
    """Decide about one row or several."""
    started = _perf()
    received = _wall()
    bound = plane.bound(head, received)
    if head.encoding:
        body = plane.inflate(head, body)
    decider = bound.decider
    trail = (bound.key.id, received, started, head.traceparent, head.idempotency)
    try:
        row = decode_row(body)
    except DECODING:
        found = decode_rows(body, decider.endpoint.policies.max_rows)
        if isinstance(found, list):
            if isinstance(decider, HeavyDecider):
                return _heavy(decider, found, trail, batch=True)
            if len(found) > TURN_ROWS:
                return Later(partial(_in_turns, decider, found, trail))
            return _answer_many(decider, found, decider.many(found, trail))
        row = found
    if isinstance(decider, HeavyDecider):
        return _heavy(decider, [row], trail, batch=False)
    return native_answer(row, decider.one(row, trail))


async def _in_turns(decider: Decider, rows: list[Row], trail: Trail) -> Answer:
    settled = await decider.many_in_turns(rows, trail)
    return await aside(_answer_many, decider, rows, settled)


def _answer_many(decider: Decider, rows: list[Row], settled: list[Settled]) -> bytes:
    return b'{"endpoint":%b,"release":%d,"results":[%b]}' % (
        _json(decider.endpoint.name),
        decider.endpoint.number,
        b",".join(map(native_answer, rows, settled)),
    )


def _heavy(decider: HeavyDecider, rows: list[Row], trail: Trail, *, batch: bool) -> Soon:
    """The answer of a costly model, or its work."""

    def write(settled: list[Settled]) -> bytes:
        return _answer_many(decider, rows, settled) if batch else native_answer(rows[0], settled[0])

    found = decider.begin(rows, trail, batch=batch)
    if isinstance(found, list):
        return write(found)

    async def work() -> Answer:
        return write(await found())

    return Later(work)
