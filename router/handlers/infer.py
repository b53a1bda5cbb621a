"""``POST /v2/models/{endpoint}/infer``: the Open Inference Protocol over the same decisions."""

from __future__ import annotations

import time

from router.head import Head
from router.heavy import HeavyDecider
from router.later import Later
from router.plane import Answer, Plane, Soon
from router.problem import Reply
from router.settled import Settled
from router.wire.v2 import read_rows, split_body
from router.wire.v2_answer import choose_outputs, encode_answer

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
    call, tail = split_body(body, head.json_bytes, endpoint.v2)
    chosen = choose_outputs(call, endpoint.v2)
    rows = read_rows(call, tail, endpoint.v2, endpoint.policies.max_rows)
    if call.id:
        for row in rows:
            row.id = str(call.id)
    if len(rows) == 1 and known is None:
        endpoint.known.learn(body, head.json_bytes, call, rows[0])

    def write(settled: list[Settled]) -> Answer:
        return _reply(*encode_answer(call, endpoint.content, chosen, settled))

    if not isinstance(decider, HeavyDecider):
        single = len(rows) == 1
        return write([decider.one(rows[0], trail)] if single else decider.many(rows, trail))
    found = decider.begin(rows, trail, batch=len(rows) > 1)
    if isinstance(found, list):
        return write(found)

    async def work() -> Answer:
        return write(await found())

    return Later(work)


def _reply(answer: bytes, json_bytes: int | None) -> Answer:
    """An answer; what has binary data says how long its JSON part is."""
    if json_bytes is None:
        return answer
    size = (b"inference-header-content-length", b"%d" % json_bytes)
    return Reply(200, answer, OCTETS, (size,))
