"""Prebuilt HTTP/1.1 requests: everything that can be done before the run is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from loadtest.plan import Target

_FORBIDDEN = {"content-length", "host", "transfer-encoding", "connection"}


def build_request(
    target: Target,
    path: str,
    body: bytes,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    content_type: str = "application/json",
    method: str = "POST",
    keep_alive: bool = True,
) -> bytes:
    """Bytes of one request, head and body.

    Raises:
        LoadTestError: a path or header that would break the request line or the head.
    """
    if not path.startswith("/") or any(c in path for c in " \r\n"):
        raise LoadTestError(f"expected a path such as /v1/predict, got {path!r}", at="--path")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.authority}"]
    for name, value in headers:
        if name.lower() in _FORBIDDEN or any(c in name + value for c in "\r\n") or not name:
            raise LoadTestError(f"header {name!r} cannot be set here", at="--header")
        lines.append(f"{name}: {value}")
    if body or method != "GET":
        lines.append(f"Content-Type: {content_type}")
        lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse_header(text: str) -> tuple[str, str]:
    """Read ``Name: value``.

    >>> parse_header("X-Channel: web")
    ('X-Channel', 'web')
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise LoadTestError(f"expected 'Name: value', got {text!r}", at="--header")
    return name.strip(), value.strip()
