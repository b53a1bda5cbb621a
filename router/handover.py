"""Connections that stream go to a process of their own, with everything that came on them so far.

Rows of a stream are decided by the thousand in one call, and a thread that does so holds the
interpreter for milliseconds at a time: beside it, online requests would wait. So a worker that sees
a stream begin passes the connection on by file descriptor. The process of the streams is started
by the first of them (the supervisor watches the same socket) and runs on what the cores have left:
the kernel lets the workers in whenever they have something to do.

A connection stays where it is when it is encrypted, when its first request was no stream or its
head came in pieces, or when it cannot be passed on at this moment; then it streams in the worker.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.door import Door

STREAM = b"POST /v1/stream/"
"""How a head begins that is worth passing on; anything wrong with it is answered there."""
_FDS = 2

Take = Callable[[socket.socket, bytes], None]


def handover_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends: the first for the supervisor and the process of the streams, the other to give."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in pair:
        each.setblocking(False)
    return pair


class Giver:
    """A worker's end.

    Args:
        link: see :func:`handover_pair`.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def give(self, connection: int, data: bytes) -> bool:
        """Pass a connection on; whether that was done. Ours is to be closed afterwards.

        Args:
            connection: file descriptor.
            data: what was read from it and not yet answered.
        """
        try:
            held = os.memfd_create("interlock-stream", os.MFD_CLOEXEC)
        except OSError:
            return False
        try:
            with os.fdopen(held, "wb", closefd=False) as file:
                file.write(data)
            fds = array.array("i", (connection, held))
            self._link.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError:  # nobody takes them fast enough, or no descriptors are left
            return False
        finally:
            os.close(held)
        return True


def pass_on(door: Door, transport: asyncio.Transport, data: bytes) -> bool:
    """Pass on a connection that begins to stream; whether somebody else serves it now.

    Args:
        door: of the worker.
        transport: the connection, with nothing outstanding.
        data: the beginning of the stream.
    """
    if door.giver is None or door.draining or transport.get_write_buffer_size():
        return False
    transport.pause_reading()
    if not door.giver.give(transport.get_extra_info("socket").fileno(), data):
        transport.resume_reading()
        return False
    transport.abort()  # our descriptor only: the connection lives on in the other process
    return True


class Taker:
    """The end of the process that streams.

    Args:
        link: see :func:`handover_pair`.
        take: serves a connection.
    """

    def __init__(self, link: socket.socket, take: Take) -> None:
        self._link = link
        self._take = take

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """Take what is passed on for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._link.fileno(), self._read)
        try:
            yield
        finally:
            loop.remove_reader(self._link.fileno())

    def _read(self) -> None:
        size = socket.CMSG_SPACE(_FDS * array.array("i").itemsize)
        try:
            _, found, _, _ = self._link.recvmsg(1, size)
        except OSError:  # another process was faster
            return
        fds = array.array("i")
        for level, kind, data in found:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if len(fds) != _FDS:
            for each in fds:
                os.close(each)
            return
        connection = socket.socket(fileno=fds[0])
        with os.fdopen(fds[1], "rb") as file:
            file.seek(0)
            data = file.read()
        connection.setblocking(False)
        self._take(connection, data)
