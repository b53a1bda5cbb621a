"""The router of this node, found by what it writes: its workers map segments of the spool."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from compiler.errors import AppError

PROC = Path("/proc")


class DrainError(AppError):
    """This node cannot be drained from here."""

    code = "node.drain"


def writers_of(spool: Path) -> list[int]:
    """Processes that map a segment below a folder; those of other users are not seen."""
    mark = f" {spool.resolve()}/".encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "maps").read_bytes() and b".seg" in (entry / "maps").read_bytes():
                found.append(int(entry.name))
        except OSError:  # ended, or somebody else's
            continue
    return sorted(found)


def supervisors_of(workers: list[int]) -> list[int]:
    """The routers that these workers belong to.

    Raises:
        DrainError: one of them would be started again by ``interlock up``.
    """
    found: dict[int, None] = {}
    for pid in workers:
        parent = _parent(pid)
        if "router" not in _words(parent):
            found[pid] = None
            continue
        above = _parent(parent)
        if "up" in _words(above) and "interlock" in " ".join(_words(above)):
            raise DrainError(
                f"the router of this node runs under `interlock up` (process {above}), which "
                "would start it again",
                hint=f"end the stack, which drains it: kill -TERM {above}",
            )
        found[parent] = None
    return list(found)


def end(pids: list[int]) -> None:
    """Ask processes to drain and end."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue


def _parent(pid: int) -> int:
    try:
        status = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0
    return int(status.rpartition(")")[2].split()[1])


def _words(pid: int) -> list[str]:
    """Command line of a process, by words."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [word for part in raw.decode(errors="replace").split("\0") for word in part.split()]
