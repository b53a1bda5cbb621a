"""Asks a local HTTP server whether it is ready, without an HTTP library."""

from __future__ import annotations

import asyncio
import contextlib

PROBE_S = 1.0
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to


def reachable_host(bind: str) -> str:
    """An address under which a server that is bound to ``bind`` answers on this machine."""
    return WILDCARDS.get(bind, bind)


def base_url(bind: str, port: int) -> str:
    """URL of a local server, without a final slash."""
    host = reachable_host(bind)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def http_status(bind: str, port: int, path: str) -> int:
    """Status of a GET; 0 when nobody answers within a second."""
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(reachable_host(bind), port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: {bind}:{port}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
