"""A place in a connection's order for an answer of the fast lane that comes later.

The place is what uvicorn itself holds for an answer of the slow lane, so whatever is sent behind
it on the connection waits its turn, and a caller that hangs up is noticed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from router.app import Receive, Send, send_answer
from router.errors import ShedError
from router.head import Head
from router.later import Later, settled_unless_gone

if TYPE_CHECKING:
    from router.fastlane import FastLane
    from router.plane import Plane


def hold(connection: FastLane, head: Head, later: Later, *, keep_alive: bool) -> None:
    """Let the work begin and take its answer's place on a connection where nothing is owed."""
    plane = connection.door.plane

    async def respond(_scope: Any, receive: Any, send: Any) -> None:
        await answer_held(plane, head, later, receive, send)

    scope: Any = {"type": "http", "method": head.method.decode("ascii"), "state": {}}
    connection.cycle = RequestResponseCycle(
        scope=scope,
        transport=connection.transport,
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=False,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=connection.on_response_complete,
    )
    connection.cycle.more_body = False
    connection._start_asgi_task(connection.cycle, respond)  # noqa: SLF001 - the protocol's own step


async def answer_held(plane: Plane, head: Head, later: Later, receive: Receive, send: Send) -> None:
    """Send the answer when it is there; bounded as on the slow lane."""
    try:
        with plane.in_flight.hold(plane.key_of(head)):
            answer = await settled_unless_gone(plane, head, later, receive)
    except ShedError as error:
        answer = plane.refuse(head, error)
    if answer is not None:
        await send_answer(send, answer)
