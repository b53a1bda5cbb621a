"""The Litestar application behind the slow lane, built from the table of routes."""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.handlers import asgi

from router.app import Receive, Scope, Send, answer_fast_route, answer_or_fail
from router.handlers.slow import SLOW_HANDLERS
from router.plane import Plane
from router.routes import ROUTES


def build_framework(plane: Plane) -> Litestar:
    """The framework with one handler per path of the table."""
    paths: dict[str, None] = {route.path: None for route in ROUTES}
    return Litestar(
        route_handlers=[_handler(path, plane) for path in paths],
        openapi_config=None,
        logging_config=None,
    )


def _handler(path: str, plane: Plane) -> Any:
    """One path: the head already says which operation it is."""

    @asgi(path=path.replace("}", ":str}"), copy_scope=False)
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await _dispatch(plane, scope, receive, send)

    return handle


async def _dispatch(plane: Plane, scope: Scope, receive: Receive, send: Send) -> None:
    head = scope["state"]["head"]
    route = head.route
    handler = SLOW_HANDLERS.get(route.name)
    if handler is None:
        await answer_fast_route(plane, scope, receive, send)
    else:
        await answer_or_fail(plane, head, send, handler(plane, head, receive))
