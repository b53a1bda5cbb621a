"""Asks a server on this machine whether it is ready, without an HTTP library."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from serving.tls import TlsSettings

PROBE_S = 1.0
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to


def reachable_host(bind: str) -> str:
    """An address under which a server that is bound to ``bind`` answers on this machine."""
    return WILDCARDS.get(bind, bind)


def base_url(bind: str, port: int, *, tls: bool = False) -> str:
    """URL of a local server, without a final slash."""
    host = reachable_host(bind)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _any_certificate() -> ssl.SSLContext:
    """For a question to our own child about its health: nothing secret is sent or believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def http_status(bind: str, port: int, path: str, tls: TlsSettings | None = None) -> int:
    """Status of a GET; 0 when nobody answers within a second.

    A server that wants to know its clients is asked for no more than its side of the handshake
    and counts as 200 then: a process of the stack listens only when it is ready.
    """
    context = None if tls is None else _any_certificate()
    try:
        async with asyncio.timeout(PROBE_S):
            host = reachable_host(bind)
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                if tls is not None and tls.client_authority is not None:
                    return 200
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
