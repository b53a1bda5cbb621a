"""Processor time and memory of this machine's processes.

Source: proc_pid_stat(5), 14-17; Linux, Documentation/scheduler/sched-stats.rst (schedstat).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> tuple[int, ...]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            text = stat.read_text(encoding="utf-8", errors="replace")
            parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [one for one, parent in parents.items() if parent == pid]
    return tuple(found)


def cpu_seconds(pid: int) -> float:
    """User and system seconds, own and of ended children; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def waited_ns(pid: int) -> int:
    """How long a process's first thread was ready and had no core, ns; 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0


def rss_anon_kb(pid: int) -> int:
    """Private resident memory in KiB; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
