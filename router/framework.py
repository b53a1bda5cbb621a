"""The Litestar application behind the slow lane, built from the table of routes."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, route
from litestar.types import ASGIApp

from router.app import (
    Receive,
    Scope,
    Send,
    answer_fast_route,
    answer_or_fail,
    send_answer,
)
from router.errors import ShedError
from router.handlers.once import ONCE, once
from router.handlers.slow import SLOW_HANDLERS
from router.handlers.stream import answer_stream
from router.head import Head
from router.plane import Plane
from router.routes import ROUTES


def build_framework(plane: Plane) -> Litestar:
    """The framework with one handler per path of the table."""
    methods: dict[str, list[str]] = {}
    for each in ROUTES:
        methods.setdefault(each.path, []).append(each.method.decode())
        if each.method == b"GET":
            methods[each.path].append("HEAD")
    return Litestar(
        route_handlers=[_handler(path, names, plane) for path, names in methods.items()],
        openapi_config=None,
        logging_config=None,
    )


def _handler(path: str, methods: list[Any], plane: Plane) -> Any:
    """One path: the head already says which operation it is; the body is read by who needs it."""

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        await _dispatch(plane, scope, receive, send)

    @route(path.replace("}", ":str}"), http_method=methods)
    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:  # noqa: ARG001 - makes it HTTP
        return respond

    return handle


async def _dispatch(plane: Plane, scope: Scope, receive: Receive, send: Send) -> None:
    head = scope["state"]["head"]
    try:
        with plane.in_flight.hold(plane.key_of(head)):
            await _answer(plane, head, scope, receive, send)
    except ShedError as error:
        await send_answer(send, plane.refuse(head, error, close=head.has_body))


async def _answer(plane: Plane, head: Head, scope: Scope, receive: Receive, send: Send) -> None:
    """Give the request to who answers it."""
    assert head.route is not None
    name = head.route.name
    handler = SLOW_HANDLERS.get(name)
    if name == "stream":
        await answer_stream(plane, head, receive, send)
    elif head.idempotency is not None and name in ONCE:
        await answer_or_fail(plane, head, send, once(plane, head, receive))
    elif handler is None:
        await answer_fast_route(plane, scope, receive, send)
    else:
        await answer_or_fail(plane, head, send, handler(plane, head, receive))
