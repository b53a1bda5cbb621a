"""Requests with an ``Idempotency-Key``: decided once, answered as often as they are repeated."""

from __future__ import annotations

import time
from typing import Any

from router.app import read_body
from router.errors import BodyError
from router.head import Head
from router.idempotency import MAX_WORD_BYTES, Claim, Idempotency
from router.later import settled
from router.plane import Answer, Plane
from router.problem import Reply

ONCE = frozenset({"predict", "infer", "outcomes", "overrides"})


async def once(plane: Plane, head: Head, receive: Any) -> Answer:
    """The first answer, given again to every repeat."""
    word = head.idempotency or ""
    if not 0 < len(word) <= MAX_WORD_BYTES:
        raise BodyError(
            f"expected an Idempotency-Key of 1 to {MAX_WORD_BYTES} bytes", code="idempotency.key"
        )
    body = await read_body(receive, plane.settings.http.max_body_bytes)
    bound = plane.bound(head, time.time_ns())
    keeper: Idempotency | None = plane.idempotency
    if body is None or keeper is None:
        return await settled(plane, head, plane.answer(head, body or b""))
    endpoint = bound.decider.endpoint
    scope = (bound.key.id, endpoint.name, word)
    claim = await keeper.begin(scope, head.path, body, endpoint.policies.timeout_ms / 1000)
    if not isinstance(claim, Claim):
        return claim
    reply: Reply | None = None
    try:
        answer = await settled(plane, head, plane.answer(head, body))
        reply = answer if isinstance(answer, Reply) else Reply(200, answer)
    finally:
        finished = await keeper.finish(claim, reply)
    assert finished is not None
    return finished
