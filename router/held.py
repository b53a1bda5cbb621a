"""A place in a connection's order for an answer of the fast lane that comes later.

The place is what uvicorn itself holds for an answer of the slow lane, so whatever is sent behind
it on the connection waits its turn, and a caller that hangs up is noticed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from compiler.errors import AppError
from router.app import Receive, Send, send_answer
from router.durability import Held
from router.errors import ShedError
from router.head import Head
from router.later import Later, settled_unless_gone
from router.problem import Reply

if TYPE_CHECKING:
    from router.fastlane import FastLane
    from router.plane import Plane


def hold(connection: FastLane, head: Head, later: Later, *, keep_alive: bool) -> None:
    """Let the work begin and take its answer's place on a connection where nothing is owed."""
    plane = connection.door.plane
    if isinstance(later, Held):
        hold_until_safe(connection, head, later, keep_alive=keep_alive)
        return

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


class WaitingCycle:
    """What uvicorn looks at while a ready answer waits for its record: no task, no queue."""

    __slots__ = (
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
    )

    def __init__(self, *, keep_alive: bool) -> None:
        self.disconnected = False
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.more_body = False
        self.response_started = False
        self.response_complete = False


def hold_until_safe(connection: FastLane, head: Head, held: Held, *, keep_alive: bool) -> None:
    """Send a ready answer when its record is safe; a fifth of what a task costs."""
    cycle = WaitingCycle(keep_alive=keep_alive)
    connection.cycle = cycle  # type: ignore[assignment]
    timer = connection.loop.call_later(held.timeout_s, held.safe.cancel)

    def respond(_: asyncio.Future[None]) -> None:
        timer.cancel()
        cycle.response_started = cycle.response_complete = True
        try:
            held.check()
        except AppError as error:
            reply = connection.door.plane.refuse(head, error)
        else:
            reply = Reply(200, held.answer)
        connection.answer_held(reply, head, keep_alive=cycle.keep_alive)
        connection.on_response_complete()

    held.safe.add_done_callback(respond)


async def answer_held(plane: Plane, head: Head, later: Later, receive: Receive, send: Send) -> None:
    """Send the answer when it is there; bounded as on the slow lane."""
    try:
        with plane.in_flight.hold(plane.key_of(head)):
            answer = await settled_unless_gone(plane, head, later, receive)
    except ShedError as error:
        answer = plane.refuse(head, error)
    if answer is not None:
        await send_answer(send, answer)
