"""Request bodies from files and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import LoadTestError

MOST = 100_000


def read_bodies(path: Path | None, body: str | None) -> tuple[bytes, ...]:
    """JSON bodies, one per line of a file, or the one given.

    Raises:
        LoadTestError: neither or both given, an unreadable file, or a line that is not an object.
    """
    if (path is None) == (body is None):
        raise LoadTestError(
            "expected one source of request bodies",
            at="--payload",
            hint="give --payload FILE (NDJSON) or --body '{\"features\": {...}}'",
        )
    if body is not None:
        return (_request(body.encode(), "--body"),)
    assert path is not None
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(path)) from None
    bodies = tuple(
        _request(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()
    )
    if not bodies or len(bodies) > MOST:
        raise LoadTestError(f"expected 1 to {MOST} lines, got {len(bodies)}", at=str(path))
    return bodies


def _request(line: bytes, at: str) -> bytes:
    """A request body as it is, or an object of features wrapped into one."""
    try:
        value: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise LoadTestError(f"expected JSON, got {line[:60]!r} ({error})", at=at) from None
    if not isinstance(value, dict):
        raise LoadTestError(f"expected an object, got {type(value).__name__}", at=at)
    if "features" in value or "rows" in value or "inputs" in value:
        return line.strip()
    return msgspec.json.encode({"features": value})
