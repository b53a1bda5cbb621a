"""What a killed supervisor left behind: its children are ending, but still hold ports and files."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import msgspec

from compiler.errors import AppError
from interlock.home import Home

LONGEST_S = 40.0
"""Longer than a router drains and PostgreSQL shuts down."""
POLL_S = 0.05


class LeftoverError(AppError):
    """Processes of an earlier stack do not end."""

    code = "stack.leftover"


def leftovers(home: Home) -> list[int]:
    """Processes that ``stack.json`` names and that still belong to this home.

    A number alone proves nothing, it may be somebody else's by now: the command line or the
    environment must name the home.
    """
    try:
        state = msgspec.json.decode(home.state.read_bytes())
        pids = [pid for pid in state["services"].values() if isinstance(pid, int)]
    except (OSError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return []
    return [pid for pid in pids if _belongs(pid, os.fsencode(home.path))]


def _belongs(pid: int, home: bytes) -> bool:
    folder = Path("/proc") / str(pid)
    try:
        words = (folder / "cmdline").read_bytes()
        environment = (folder / "environ").read_bytes() if words else b""
    except OSError:
        return False
    return home + b"/" in words or b"INTERLOCK_HOME=" + home + b"\0" in environment


async def wait_for_leftovers(home: Home, longest_s: float = LONGEST_S) -> None:
    """Wait until the children of a killed supervisor have ended; each was told to when it died.

    Raises:
        LeftoverError: some are still there.
    """
    deadline = time.monotonic() + longest_s
    while pids := leftovers(home):
        if time.monotonic() > deadline:
            numbers = " ".join(map(str, pids))
            raise LeftoverError(
                f"processes {numbers} of a stack that was killed do not end",
                at=str(home.path),
                hint=f"end them with: kill -9 {numbers}",
            )
        await asyncio.sleep(POLL_S)
    home.state.unlink(missing_ok=True)
