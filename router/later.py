"""Answers that wait: a heavy model scores them in a thread while the event loop goes on.

Both lanes hold the place of such an answer in the order of its connection. When the caller goes
away meanwhile, the work is cancelled; what it had begun is recorded as abandoned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.errors import AppError
from router.problem import INTERNAL, Reply

if TYPE_CHECKING:
    from router.head import Head
    from router.plane import Answer, Plane

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Later:
    """An answer that is not there yet.

    Attributes:
        work: makes it; called once.
    """

    __slots__ = ("started_ns", "work")

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self.work = work
        self.started_ns = time.perf_counter_ns()


async def settled(plane: Plane, head: Head, answer: Answer | Later) -> Answer:
    """The answer, waited for where it is not there yet; errors become problem documents."""
    if not isinstance(answer, Later):
        return answer
    try:
        found = await answer.work()
    except AppError as error:
        found = plane.refuse(head, error)
    except Exception as error:
        plane.desk.report("unexpected failure on %s", head.path, error)
        found = plane.refuse(head, INTERNAL)
    return timed(found, time.perf_counter_ns() - answer.started_ns) if head.timing else found


async def settled_unless_gone(
    plane: Plane, head: Head, answer: Answer | Later, receive: Receive
) -> Answer | None:
    """As :func:`settled`; None when the caller went away first, and the work is cancelled."""
    if not isinstance(answer, Later):
        return answer
    work = asyncio.create_task(settled(plane, head, answer), name="later")
    gone = asyncio.create_task(_disconnected(receive), name="gone")
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for each in (work, gone):
            each.cancel()
        await asyncio.wait((work, gone))


async def _disconnected(receive: Receive) -> None:
    """Return when the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def timed(answer: Answer, elapsed_ns: int) -> Reply:
    """An answer that says how long it took."""
    reply = answer if isinstance(answer, Reply) else Reply(200, answer)
    header = (b"server-timing", b"total;dur=%.3f" % (elapsed_ns / 1e6))
    return msgspec.structs.replace(reply, headers=(*reply.headers, header))
