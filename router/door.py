"""What all connections of a worker share: the plane, the sweeper's clock, heads seen before."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from router.handover import Giver
from router.head import Head
from router.plane import Plane

if TYPE_CHECKING:
    from router.fastlane import FastLane

MAX_HEADS = 4096
TICK_S = 0.1


class Door:
    """Shared state of the connections of one worker.

    Attributes:
        plane: answers requests.
        fast: answer fast routes from parser callbacks.
        heads: heads by their exact bytes. Equal bytes parse alike, so a client that repeats itself
            is parsed once; cleared when full.
        now: seconds since the start, in steps of 0.1 s: good enough for time-outs and free to read.
        ok: status line and headers of a plain 200, up to the content length.
        default_headers: date, as uvicorn writes it.
        draining: every answer ends its connection.
        giver: passes connections on that begin to stream; None to stream here.
        apart: this is the process of the streams: an answer ends its connection, so that whatever
            comes next is served by a worker again.
    """

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.http = plane.settings.http
        self.fast = plane.settings.fastlane
        self.heads: dict[bytes, Head] = {}
        self.now = 0.0
        self.ok = b""
        self.default_headers: list[tuple[bytes, bytes]] = []
        self.draining = False
        self.giver: Giver | None = None
        self.apart = False
        plane.on_swap.append(self.heads.clear)
        self.set_headers([(b"date", formatdate(usegmt=True).encode())])

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head for later requests with the same bytes."""
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[raw] = head

    def set_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Use these headers in every answer from now on."""
        self.default_headers = headers
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.ok = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: " % lines

    def tick(self, default_headers: list[tuple[bytes, bytes]], connections: Iterable[Any]) -> None:
        """A tenth of a second passed: the clock, the date, and once a second the sweep."""
        before = self.now
        self.now = before + TICK_S
        if default_headers is not self.default_headers and default_headers:
            self.set_headers(default_headers)
        if self.draining or int(before) != int(self.now):
            self.sweep(connections)

    def sweep(self, connections: Iterable[FastLane]) -> None:
        """End the connections whose time is over."""
        for connection in list(connections):
            connection.check_time(self.now)
