"""The body of a stream as lines or as Arrow messages, whatever its pieces are cut like."""

from __future__ import annotations

from collections.abc import AsyncIterator

from router.app import Receive
from router.columnar.ipc import Message, Messages
from router.errors import TooLargeError

MAX_LINE = 1 << 20


async def chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Pieces of the body until its end, or until the client is gone."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = bool(message.get("more_body"))
        yield message.get("body", b"")


async def lines_of(receive: Receive) -> AsyncIterator[list[bytes]]:
    """Lines of the body, as many as came at once; the last one needs no newline.

    Raises:
        TooLargeError: a line without an end.
    """
    rest = b""
    async for chunk in chunks(receive):
        *whole, rest = (rest + chunk).split(b"\n")
        yield [line for line in whole if line.strip()]
        if len(rest) > MAX_LINE:
            raise TooLargeError(f"expected lines of at most {MAX_LINE} bytes")
    if rest.strip():
        yield [rest]


async def grouped(lines: AsyncIterator[list[bytes]], size: int) -> AsyncIterator[list[bytes]]:
    """The same lines, ``size`` together; fewer at the end."""
    group: list[bytes] = []
    async for some in lines:
        group += some
        while len(group) >= size:
            yield group[:size]
            group = group[size:]
    if group:
        yield group


async def messages_of(receive: Receive) -> AsyncIterator[Message]:
    """Messages of an Arrow stream.

    Raises:
        BodyError: it is none, or ends within a message.
        TooLargeError: a message beyond the limits.
    """
    found = Messages()
    async for chunk in chunks(receive):
        for message in found.feed(chunk):
            yield message
        if found.ended:
            return
    found.finish()
