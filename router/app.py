"""The slow lane: the same answers through the web framework, and every path that has to wait.

``SlowLane`` is the ASGI application of a worker. Litestar is imported when the first request needs
it (after the worker is ready it is fetched in the background), because it costs a third of a
worker's start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from compiler.errors import AppError
from router.bodies import too_large
from router.head import Head, read_head
from router.later import settled, settled_unless_gone
from router.plane import Answer, Plane
from router.problem import INTERNAL, JSON, Reply

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class SlowLane:
    """ASGI application of one worker."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._framework: Any = None
        self._loading: asyncio.Task[Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        head: Head = scope["state"].get("head") or head_of(scope)
        scope["state"]["head"] = head
        route = head.route
        if route is None or route.path == "":
            await send_answer(send, await settled(self.plane, head, self.plane.answer(head, b"")))
            return
        framework = await self.framework()
        await framework(scope, receive, send)

    async def framework(self) -> Any:
        """The Litestar application, imported in a thread at its first use."""
        if self._framework is None:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load(), name="load-framework")
            await asyncio.shield(self._loading)
        return self._framework

    async def _load(self) -> None:
        def build() -> Any:
            from router.framework import build_framework

            return build_framework(self.plane)

        self._framework = await asyncio.to_thread(build)


def head_of(scope: Scope) -> Head:
    """The head of a request that did not come through our protocol."""
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    return read_head(scope["method"].encode(), target, scope["headers"])


async def answer_fast_route(plane: Plane, scope: Scope, receive: Receive, send: Send) -> None:
    """A fast route on the slow lane: read the body, ask the same function, send the same bytes."""
    head: Head = scope["state"]["head"]
    try:
        body = await read_body(receive, plane.settings.http.max_body_bytes)
    except AppError as error:
        await send_answer(send, plane.refuse(head, error, close=True))
        return
    if body is None:
        return
    soon = (plane.shed(head) if plane.shedder.active else None) or plane.answer(head, body)
    answer = await settled_unless_gone(plane, head, soon, receive)
    if answer is None:
        return
    await send_answer(send, answer)


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, None when the client went away.

    Raises:
        TooLargeError: it exceeds the limit.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer with the same headers in the same order as the fast lane."""
    reply = answer if isinstance(answer, Reply) else Reply(200, answer, JSON)
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    if reply.close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def answer_or_fail(plane: Plane, head: Head, send: Send, work: Awaitable[Answer]) -> None:
    """Send what some work answers; errors become problem documents."""
    try:
        answer = await work
    except AppError as error:
        answer = plane.refuse(head, error)
    except Exception as error:
        plane.desk.report("unexpected failure on %s", head.path, error)
        answer = plane.refuse(head, INTERNAL)
    await send_answer(send, answer)
