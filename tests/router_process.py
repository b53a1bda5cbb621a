"""Real router processes for tests, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from router.settings import RouterSettings, encode_settings

ROOT = Path(__file__).parents[1]
START_S = 30.0
CODE = (
    "import sys; from router.serve import run; from router.settings import decode_settings;"
    "run(decode_settings(sys.stdin.buffer.read()))"
)


class RouterProcess:
    """A supervisor with its workers."""

    def __init__(self, settings: RouterSettings, log: Path, path: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.log = log
        self.port = settings.port
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, "interlock router"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))},
            )
        assert self.process.stdin is not None
        self.process.stdin.write(encode_settings(settings))
        self.process.stdin.close()

    def wait_ready(self) -> RouterProcess:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the router ended: {self.log.read_text()}")
            text = self.log.read_text()
            found = re.search(r"workers on [^ ]*:(\d+)", text)
            if found and len(re.findall(r"worker \d+ serves", text)) >= self.settings.workers:
                self.port = int(found[1])
                try:
                    if b" 200 " in get(self.port, "/readyz").split(b"\r\n")[0]:
                        return self
                except OSError:
                    pass
            select.select([], [], [], 0.02)
        raise AssertionError(f"the router was not ready: {self.log.read_text()}")

    def wait_listening(self) -> int:
        """Wait for every worker without asking one (over TLS, say); the port."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            text = self.log.read_text()
            if len(re.findall(r"worker \d+ serves", text)) >= self.settings.workers:
                found = re.search(r"workers on [^ ]*:(\d+)", text)
                assert found is not None
                self.port = int(found[1])
                return self.port
            select.select([], [], [], 0.02)
        raise AssertionError(f"the router does not listen: {self.log.read_text()}")

    def workers(self) -> dict[int, int]:
        """Process id by worker number."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                number = int(words[words.index(b"interlock router") + 1])
            except (OSError, IndexError, ValueError):  # another program, or not yet its own
                continue
            if parent == self.process.pid:
                found[number] = int(folder.name)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def both_lanes(start: Callable[[str], RouterProcess]) -> Iterator[dict[str, RouterProcess]]:
    """A router per lane, ``fast`` and ``slow``; what was started ends, whatever fails."""
    running: dict[str, RouterProcess] = {}
    try:
        for lane in ("fast", "slow"):
            running[lane] = start(lane)
        for each in running.values():
            each.wait_ready()
        yield running
    finally:
        for each in running.values():
            each.stop()


class Wire:
    """One raw connection."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> Wire:
        for part in parts:
            self.socket.sendall(part)
        return self

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def answer(self, *, bare: bool = False) -> Answer:
        """The next answer."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                raise EOFError(self.buffer)
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = [tuple(line.split(b": ", 1)) for line in lines[1:]]
        known = dict(headers)
        size = 0 if bare else int(known.get(b"content-length", b"0"))
        chunked = known.get(b"transfer-encoding") == b"chunked"
        self.buffer = rest
        status = int(lines[0].split()[1])
        if status == 100:
            return Answer(status, known, b"", head)
        if chunked:
            return Answer(status, known, self._chunks(), head)
        while len(self.buffer) < size:
            if not self._more():
                raise EOFError(self.buffer)
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(status, known, body, head)

    def _chunks(self) -> bytes:
        whole = b""
        while True:
            while b"\r\n" not in self.buffer:
                assert self._more()
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            size = int(line, 16)
            while len(self.buffer) < size + 2:
                assert self._more()
            whole += self.buffer[:size]
            self.buffer = self.buffer[size + 2 :]
            if size == 0:
                return whole

    def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        while self._more():
            pass
        found, self.buffer = self.buffer, b""
        return found

    def closed(self) -> bool:
        """Whether the server ends the connection without saying more."""
        return self.rest() == b""


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    head: bytes

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


def request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/predict",
    key: str | None = None,
    headers: tuple[bytes, ...] = (),
    version: str = "1.1",
    host: bool = True,
    length: bool = True,
) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/{version}".encode()]
    if host:
        lines.append(b"Host: test")
    if key is not None:
        lines.append(b"Authorization: Bearer " + key.encode())
    if length and (body or method == "POST"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


def get(port: int, path: str) -> bytes:
    """Everything that a GET brings, headers included."""
    with Wire(port, 5.0) as wire:
        wire.send(request(method="GET", path=path, headers=(b"Connection: close",)))
        return wire.rest()
