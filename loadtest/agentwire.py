"""What controller and agents say to each other: authenticated MessagePack frames over TCP.

A frame is a length (4 bytes), an HMAC-SHA256 of session nonce, direction, counter and body under
the shared token, and the body. Nobody without the token can send load through an agent or replay a
frame; the bodies travel in the clear, so between machines a tunnel belongs around them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import struct
from typing import TypeVar

import msgspec
from msgspec import Struct

from loadtest.errors import LoadTestError
from loadtest.generator import Report
from loadtest.plan import Plan

MAX_FRAME = 1 << 30
_HEAD = struct.Struct("!I32s")
NONCE_BYTES = 16
LEAST_TOKEN = 16


class Ping(Struct, frozen=True, tag="ping"):
    """Controller: what does your clock say?"""


class Pong(Struct, frozen=True, tag="pong"):
    """Agent: monotonic nanoseconds."""

    monotonic_ns: int


class Start(Struct, frozen=True, tag="start"):
    """Controller: run this share, starting at this time of your monotonic clock."""

    plan: Plan
    at_ns: int


class Result(Struct, frozen=True, tag="result"):
    """Agent: what happened; one bytes object per column of the records."""

    columns: dict[str, bytes]
    reports: tuple[Report, ...]
    start_ns: int
    end_ns: int
    wall_step_ns: int


class Refusal(Struct, frozen=True, tag="refusal"):
    """Agent: no, and why."""

    message: str


class Bye(Struct, frozen=True, tag="bye"):
    """Controller: done."""


Message = Ping | Pong | Start | Result | Refusal | Bye
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
Kind = TypeVar("Kind", bound=Struct)


class Channel:
    """One authenticated connection; ``with`` closes it."""

    def __init__(self, stream: socket.socket, token: bytes, *, agent: bool) -> None:
        if len(token) < LEAST_TOKEN:
            raise LoadTestError(
                f"expected a token of at least {LEAST_TOKEN} characters", at="INTERLOCK_AGENT_TOKEN"
            )
        self._stream = stream
        self._token = token
        self._mine, self._theirs = (b"a", b"c") if agent else (b"c", b"a")
        self._sent = self._received = 0
        own = secrets.token_bytes(NONCE_BYTES)
        stream.sendall(own)
        other = self._exactly(NONCE_BYTES)
        self._nonce = own + other if agent else other + own

    def __enter__(self) -> Channel:  # noqa: PYI034 - never subclassed
        """The open channel."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._stream.close()

    def send(self, message: Message) -> None:
        """Send one message."""
        body = _encode(message)
        self._stream.sendall(_HEAD.pack(len(body), self._sign(self._mine, self._sent, body)) + body)
        self._sent += 1

    def receive(self) -> Message:
        """The next message.

        Raises:
            LoadTestError: the other side does not know the token, or went away.
        """
        length, signature = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > MAX_FRAME:
            raise LoadTestError("expected a message of this protocol", at="agent")
        body = self._exactly(length)
        if not hmac.compare_digest(signature, self._sign(self._theirs, self._received, body)):
            raise LoadTestError(
                "the other side does not know the token", at="agent",
                hint="both need the same INTERLOCK_AGENT_TOKEN",
            )  # fmt: skip
        self._received += 1
        try:
            return _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise LoadTestError(
                f"the other side speaks another version ({error})", at="agent"
            ) from None

    def expect(self, kind: type[Kind]) -> Kind:
        """The next message, which has to be of a kind.

        Raises:
            LoadTestError: a refusal, with its words, or another message.
        """
        message = self.receive()
        if isinstance(message, Refusal):
            raise LoadTestError(message.message, at="agent")
        if not isinstance(message, kind):
            raise LoadTestError(
                f"expected {kind.__name__}, got {type(message).__name__}", at="agent"
            )
        return message

    def _sign(self, side: bytes, counter: int, body: bytes) -> bytes:
        text = self._nonce + side + counter.to_bytes(8, "big") + body
        return hmac.digest(self._token, text, hashlib.sha256)

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._stream.recv(min(size - len(parts), 1 << 20))
            if not part:
                raise LoadTestError("the other side went away", at="agent")
            parts += part
        return bytes(parts)
