"""``POST /v2/models/{endpoint}/infer``: the Open Inference Protocol over the same decisions."""

from __future__ import annotations

import time

from router.errors import NotFoundError
from router.head import Head
from router.plane import Answer, Plane
from router.problem import Reply
from router.wire.v2 import read_rows, split_body
from router.wire.v2_answer import choose_outputs, encode_answer

OCTETS = b"application/octet-stream"
_perf = time.perf_counter_ns
_wall = time.time_ns


def infer(plane: Plane, head: Head, body: bytes) -> Answer:
    """Decide about a batch of rows."""
    started = _perf()
    received = _wall()
    bound = plane.bound(head, received)
    decider = bound.decider
    endpoint = decider.endpoint
    if head.version and head.version != str(endpoint.number):
        raise NotFoundError(
            f"expected version {endpoint.number} of {endpoint.name!r}, got {head.version[:20]}",
            code="release.unknown",
        )
    if head.encoding:
        body = plane.inflate(head, body)
    call, tail = split_body(body, head.json_bytes, endpoint.v2)
    chosen = choose_outputs(call, endpoint.v2)
    rows = read_rows(call, tail, endpoint.v2, endpoint.policies.max_rows)
    if call.id:
        for row in rows:
            row.id = str(call.id)
    trail = (bound.key.id, received, started, head.traceparent, head.idempotency)
    settled = [decider.one(rows[0], trail)] if len(rows) == 1 else decider.many(rows, trail)
    answer, json_bytes = encode_answer(call, endpoint.content, chosen, settled)
    if json_bytes is None:
        return answer
    size = (b"inference-header-content-length", b"%d" % json_bytes)
    return Reply(200, answer, OCTETS, (size,))
