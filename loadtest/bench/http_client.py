"""A kept connection that speaks just enough HTTP to measure without adding much."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from loadtest.errors import LoadTestError


class Client:
    """One kept connection that speaks just enough HTTP to measure without adding much."""

    def __init__(self, port: int, token: str = "", *, prefix: str = "/api") -> None:
        self._port = port
        self._prefix = prefix
        self._head = f"Host: bench\r\nAuthorization: Bearer {token}\r\n"
        self._streams: Any = None

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of one request below the prefix."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        content = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        answer = await reader.readexactly(length)
        if "connection: close" in head:
            await self.close()
        return int(head[9:12]), answer

    async def expect(self, method: str, path: str, body: Any = None) -> Any:
        """Decoded body of a request that must succeed.

        Raises:
            LoadTestError: it was refused; says why.
        """
        status, answer = await self.call(method, path, body)
        if status not in (200, 201):
            raise LoadTestError(f"{method} {path} answered {status}: {answer.decode()[:300]}")
        return msgspec.json.decode(answer)

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
