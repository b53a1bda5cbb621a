"""The HTTP protocol of the data port: predictions are answered from parser callbacks.

Built on uvicorn's httptools protocol, which still serves every path that needs a framework. This
class adds what uvicorn leaves open: bounds on heads and bodies, deadlines for slow senders and
readers, upgrades that we do not speak, a drain that loses no request, and the fast lane itself:

- a request whose head came before, byte for byte, and whose body is complete is answered without
  parsing anything again;
- any other request of a fast route when its last byte is parsed; both only while nothing is
  outstanding on the connection, so that answers keep their order.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from compiler.errors import AppError
from router.bodies import too_large
from router.door import Door
from router.errors import BodyError, MethodError, SlowSenderError, head_too_large
from router.handover import STREAM, pass_on
from router.head import Head, read_head
from router.held import hold
from router.later import Later
from router.problem import Reply

IDLE, HEAD, BODY = range(3)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
HOP_HEADERS = frozenset({b"upgrade", b"http2-settings", b"connection"})


class FastLane(HttpToolsProtocol):
    """One connection.

    Attributes:
        door: what all connections share; set on a subclass of each worker.
        phase: between requests, within a head, or within a body.
        since: when the phase began, on the door's clock.
        ended: nothing more is read from this connection.
        before: what another process had read from it.
        reached: when the shedder last looked at it.
    """

    door: ClassVar[Door]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = IDLE
        self.since = self.door.now
        self.ended = False
        self.before = b""
        self._fresh = True
        self._head: Head | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._upgrading = False
        self._keep = True
        self._completed = 0
        self._last: Head | None = None
        self._stuck_since: float | None = None
        self.reached = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self.since = self.door.now
        transport.set_write_buffer_limits(high=self.door.http.write_buffer_bytes)
        if len(self.connections) > self.door.http.max_connections:
            self.ended = True
            transport.abort()
        if self.before:
            self.data_received(self.before)

    @property
    def _busy(self) -> bool:
        """Whether an answer of the slow lane is outstanding."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    # reading ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Answer what is complete, parse the rest."""
        if self.phase == IDLE and not self.ended:
            door = self.door
            find, heads, size = data.find, door.heads, len(data)
            at = 0
            while not (self.cycle is not None and self._busy):
                end = find(b"\r\n\r\n", at) + 4
                if end < 4:
                    break
                raw = data[at:end]
                head = heads.get(raw)
                if head is None or size < end + head.size:
                    if data.startswith(STREAM, at) and pass_on(door, self.transport, data[at:]):
                        self.ended = True
                        return
                    if self.timeout_keep_alive_task is not None:
                        self._unset_keepalive_if_required()
                    self._feed_first(data[at:] if at else data, raw)
                    return
                at = end + head.size
                self.since = door.now
                self._fresh = False
                self._respond(head, data[end:at])
                if at == size or self.ended:
                    return
            if at:
                data = data[at:]
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._feed(data)

    def _feed_first(self, data: bytes, raw: bytes) -> None:
        """Parse from a message boundary; remember the head when it was a whole fast request."""
        self._completed = 0
        self._last = None
        self._feed(data)
        head = self._last
        if (
            self._completed == 1
            and head is not None
            and self._keep
            and not self.ended
            and head.repeats
            and len(data) == len(raw) + head.size
        ):
            self.door.remember(raw, head)

    def _feed(self, data: bytes) -> None:
        if self.ended:
            return
        if self.phase == HEAD:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.ended:
                self._end_with(
                    BodyError(f"the request is not HTTP: {error}", code="http.malformed")
                )
        limit = self.door.http.max_head_bytes
        if self.phase == HEAD and self._head_bytes > limit and not self.ended:
            self._end_with(head_too_large(limit))  # what ended a head and began a body is no head

    def _without_upgrade(self, rest: bytes) -> None:
        """Read a request again as if it had not offered to change the protocol."""
        if self.ended:
            return
        self._upgrading = False
        method, url, headers = self.parser.get_method(), self.url, self.headers
        if method == b"CONNECT":
            self._end_with(MethodError("this is not a proxy"))
            return
        lines = [method, b" ", url, b" HTTP/1.1\r\n"]
        for name, value in headers:
            if name not in HOP_HEADERS:
                lines += [name, b": ", value, b"\r\n"]
            elif name == b"connection" and b"close" in value.lower():
                lines.append(CLOSE)
        lines.append(b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.phase = IDLE
        self._feed(b"".join(lines) + rest)

    # parser callbacks ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request line begins."""
        self.url = b""
        self.headers = []
        self.phase = HEAD
        self.since = self.door.now
        self._fresh = False
        self._head = None
        self._head_bytes = 0
        self._upgrading = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers behind a chunked body are dropped."""
        if self.phase == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Choose the lane."""
        if self.ended:
            return
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        door, limits = self.door, self.door.http
        version = self.parser.get_http_version()
        self._keep = version == "1.1" and self.parser.should_keep_alive()
        head = read_head(self.parser.get_method(), self.url, self.headers)
        length = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if length > limits.max_head_bytes:
            self._end_with(head_too_large(limits.max_head_bytes), head)
        elif version == "1.1" and not any(name == b"host" for name, _ in self.headers):
            self._end_with(BodyError("expected a Host header", code="http.host"), head)
        elif head.error is not None and head.error.code.startswith("http."):
            self._end_with(head.error, head)
        elif head.length is not None and head.length > limits.max_body_bytes and not head.streams:
            self._end_with(too_large(limits.max_body_bytes), head)
        if self.ended:
            return
        self.phase = BODY
        self.since = door.now
        self._size = 0
        if door.fast and head.is_fast and not self._busy:
            self._head = head
            self._chunks = []
            if head.expect and head.has_body:
                self.transport.write(CONTINUE)
        else:
            self._to_slow_lane(head)

    def _to_slow_lane(self, head: Head) -> None:
        """Hand a request to the framework, in order."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.scope["headers"] = headers
        self.scope["state"]["head"] = head
        self.expect_100_continue = head.expect
        super().on_headers_complete()
        if self.door.draining or self.door.apart:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if self.ended or self._upgrading:
            return
        if self._head is None:
            super().on_body(body)
            return
        self._size += len(body)
        if self._size > self.door.http.max_body_bytes:
            self._end_with(too_large(self.door.http.max_body_bytes), self._head)
            return
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self.ended or self._upgrading:
            return
        self.phase = IDLE
        self.since = self.door.now
        self._completed += 1
        head = self._head
        if head is None:
            super().on_message_complete()
            return
        self._head = None
        self._last = head
        chunks = self._chunks
        self._respond(head, chunks[0] if len(chunks) == 1 else b"".join(chunks))

    # answering ----------------------------------------------------------------------------------

    def _respond(self, head: Head, body: bytes) -> None:
        """Answer a whole request of a fast route: one write."""
        door, plane = self.door, self.door.plane
        if plane.shedder.active and (refused := plane.shed(head, self)) is not None:
            self._write(refused, bare=head.bare)
            return
        answer = plane.answer(head, body)
        if answer.__class__ is bytes and self._keep and not door.draining and not head.bare:
            self.transport.write(b"%b%d\r\n\r\n%b" % (door.ok, len(answer), answer))
        elif isinstance(answer, Later):
            hold(self, head, answer, keep_alive=self._keep and not door.draining)
        else:
            self._write(answer if isinstance(answer, Reply) else Reply(200, answer), bare=head.bare)

    def answer_held(self, reply: Reply, head: Head, *, keep_alive: bool) -> None:
        """Write an answer that was held; requests behind it may have been parsed meanwhile."""
        self._write(reply, bare=head.bare, keep=keep_alive)

    def _write(self, reply: Reply, *, bare: bool = False, keep: bool | None = None) -> None:
        """Write an answer as uvicorn would, and end the connection when it is the last."""
        if self.transport.is_closing():
            return
        keep = self._keep if keep is None else keep
        close = reply.close or not keep or self.door.draining or self.door.apart
        lines = [STATUS_LINE[reply.status]]
        for name, value in self.door.default_headers:
            lines += [name, b": ", value, b"\r\n"]
        lines += [
            b"content-type: ",
            reply.content_type,
            b"\r\ncontent-length: ",
            b"%d" % len(reply.body),
            b"\r\n",
        ]
        for name, value in reply.headers:
            lines += [name, b": ", value, b"\r\n"]
        if close:
            lines.append(CLOSE)
        lines += [b"\r\n", b"" if bare else reply.body]
        self.transport.write(b"".join(lines))
        if close:
            self.ended = True
            self.transport.close()

    def _end_with(self, error: AppError, head: Head | None = None) -> None:
        """Refuse what came and read no further; answers that are outstanding still go first."""
        cut_off = self.phase == BODY and self._head is None  # the slow lane waits for its body
        self.phase = IDLE
        self._head = None
        reply = self.door.plane.refuse(head, error, close=True)
        if cut_off and not self.pipeline:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.ended = True
                self.transport.close()
                return
        elif self._busy:
            self.ended = True
            for cycle, _ in self.pipeline:
                cycle.keep_alive = False
            self.cycle.keep_alive = False
            return
        self._keep = False
        self._write(reply, bare=head is not None and head.bare)

    def on_response_complete(self) -> None:
        """The slow lane is done with a request."""
        self.since = self.door.now
        super().on_response_complete()
        if self.ended and not self._busy and not self.transport.is_closing():
            self.transport.close()

    # time ---------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """End the connection when its time is over; called about once a second."""
        limits = self.door.http
        waited = now - self.since
        if self._stuck_since is not None and now - self._stuck_since > limits.write_timeout_s:
            self.transport.abort()
        elif self.phase == HEAD and waited > limits.head_timeout_s:
            self._end_with(SlowSenderError("the headers did not arrive in time"))
        elif self.phase == BODY and waited > limits.body_timeout_s and not self._streams:
            self._end_with(SlowSenderError("the body did not arrive in time"), self._head)
        elif self.phase == IDLE and not self._busy:
            self._last = None  # a silent client must not keep the models of an old release
            if self.scope and isinstance(head := self.scope["state"].get("head"), Head):
                head.bound = None
            self._check_idle(waited)

    @property
    def _streams(self) -> bool:
        head = self.scope["state"].get("head") if self._head is None and self.scope else self._head
        return isinstance(head, Head) and head.streams

    def _check_idle(self, waited: float) -> None:
        limits = self.door.http
        limit = limits.head_timeout_s if self._fresh else limits.idle_timeout_s
        if self.door.draining:
            limit = limits.drain_idle_ms / 1000
        if waited <= limit and not (self.ended and waited > limits.write_timeout_s):
            return
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it, too."""
        super().pause_writing()
        self._stuck_since = self.door.now
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._stuck_since = None
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Drain: the next answer is the last; silent connections end after a while."""
        self.since = self.door.now
        if self._busy:
            self.cycle.keep_alive = False
            for cycle, _ in self.pipeline:
                cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """The sweeper ends idle connections; uvicorn's own timer has nothing to do."""
