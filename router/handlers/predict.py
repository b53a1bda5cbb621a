"""``POST /v1/predict``: decode, decide, encode."""

from __future__ import annotations

import time

import msgspec

from router.decide import native_answer
from router.endpoint import DECODING
from router.head import Head
from router.plane import Answer, Plane
from router.wire.native import decode_row, decode_rows

_perf = time.perf_counter_ns
_wall = time.time_ns
_json = msgspec.json.encode


def predict(plane: Plane, head: Head, body: bytes) -> Answer:
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
        if not isinstance(found, list):
            row = found
        else:
            settled = decider.many(found, trail)
            answers = map(native_answer, found, settled)
            return b'{"endpoint":%b,"release":%d,"results":[%b]}' % (
                _json(decider.endpoint.name),
                decider.endpoint.number,
                b",".join(answers),
            )
    return native_answer(row, decider.one(row, trail))
