"""A client that streams while it runs: ``python -m loadtest.bench.streaming``, told by a line.

Standard input brings one JSON line of :class:`Task` and ends when it is to stop. ``begun`` is
printed when the first results are there, and at the end the rows that were answered. It runs with
the idle policy: it may share a core with the generator of online load and only takes what that
leaves, so what it costs is not mistaken for what the server does.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loadtest.errors import TargetError
from loadtest.requests import build_request

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

PIECE = 1 << 16
CHUNK = b"%x\r\n%b\r\n"


class Task(Struct):
    """What to stream.

    Attributes:
        port: of the server, on this machine.
        head: of the request, whose body is chunked and without an end.
        first: sent once, before everything.
        again: file that is sent again and again.
        rows: in that file.
        cpu: core to run on.
    """

    port: int
    head: bytes
    first: bytes
    again: str
    rows: int
    cpu: int


@contextlib.contextmanager
def streaming(
    server: Server, node: Node, kind: str, body: tuple[bytes, bytes, int], *,
    cpu: int, counts: list[float] | None = None,
) -> Iterator[None]:  # fmt: skip
    """One endless stream, from its first results until the connection is closed.

    Args:
        server: that answers it.
        node: whose key opens it.
        kind: content type.
        body: what is sent once, what is sent again and again, and the rows in that.
        cpu: core of the client.
        counts: receives how many rows a second were sent.

    Raises:
        TargetError: the server refused it.
    """
    from loadtest.bench.credit import ENDPOINT

    first, again, rows = body
    file = node.folder / "stream.body"
    file.write_bytes(again)
    head = build_request(
        server.target, f"/v1/stream/{ENDPOINT}", b"", content_type=kind,
        headers=(("Authorization", f"Bearer {node.key}"),),
    )  # fmt: skip
    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    task = Task(server.target.port, head, first, str(file), rows, cpu)
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtest.bench.streaming"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        said = process.stdout.readline()
        if said != b"begun\n":
            raise TargetError(f"expected a stream of results, got {said.decode()[:300]!r}")
        yield
        process.stdin.close()
        if counts is not None:
            counts.append(float(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(15)
        process.stdout.close()


def main() -> None:
    """Stream until standard input ends."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    with contextlib.suppress(OSError):  # not allowed everywhere; then it shares as others do
        os.sched_setaffinity(0, {task.cpu})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    body = Path(task.again).read_bytes()
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    over = threading.Event()
    sent = 0.0
    with socket.create_connection(("127.0.0.1", task.port)) as link:

        def push() -> None:
            nonlocal sent
            try:
                link.sendall(task.head)
                if task.first:
                    link.sendall(CHUNK % (len(task.first), task.first))
                while not over.is_set():
                    for piece in pieces:
                        link.sendall(CHUNK % (len(piece), piece))
                        sent += task.rows * len(piece) / len(body)
                        if over.is_set():
                            return
            except OSError:
                over.set()

        sender = threading.Thread(target=push, daemon=True)
        sender.start()
        answer = b""
        while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
            got = link.recv(1 << 18)
            answer += got
            if not got:
                break
        if not answer.startswith(b"HTTP/1.1 200"):
            _say(answer[:300].decode("latin-1").replace("\r\n", " | "))
            return
        _say("begun")
        before, start = sent, time.monotonic()
        while not over.is_set():
            ready, _, _ = select.select([link, sys.stdin.buffer], [], [])
            if sys.stdin.buffer in ready or not link.recv(1 << 18):
                over.set()
        rate = (sent - before) / (time.monotonic() - start)
        link.shutdown(socket.SHUT_RDWR)
    _say(f"{rate:.0f}")


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
