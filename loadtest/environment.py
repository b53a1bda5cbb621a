"""Where a run was made: what a figure is worth without it is nothing.

Also answers whether generator and server share cores, which makes a run LOCAL.
"""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from loadtest.plan import Plan, Target

_LIBRARIES = ("interlock", "uvloop", "httptools", "numpy", "msgspec")


class Environment(Struct, frozen=True):
    """Fingerprint of the machine and the software of the generator."""

    cpu: str
    cores: int
    memory_mb: int
    kernel: str
    governor: str
    python: str
    libraries: dict[str, str]
    plan: str
    """Digest of the plan without keys: equal plans have equal digests."""


def read_environment(plan: Plan) -> Environment:
    """Read the fingerprint of this machine."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _read("/proc/cpuinfo").splitlines()
         if line.startswith("model name")),
        platform.processor() or "unknown",
    )  # fmt: skip
    memory = next((line.split()[1] for line in _read("/proc/meminfo").splitlines()), "0")
    return Environment(
        cpu=model,
        cores=os.cpu_count() or 1,
        memory_mb=int(memory) // 1024,
        kernel=platform.release(),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "none",
        python=platform.python_version(),
        libraries={name: _version(name) for name in _LIBRARIES},
        plan=plan_digest(plan),
    )


def plan_digest(plan: Plan) -> str:
    """``sha256:<16 hex>`` of everything in the plan but targets, request bytes and seed."""
    load = msgspec.structs.replace(plan.load, seed=0)
    kept = msgspec.structs.replace(
        plan, targets=(), templates=(), metrics=b"", load=load, share=(0, 1)
    )
    return "sha256:" + hashlib.sha256(msgspec.json.encode(kept)).hexdigest()[:16]


def shared_cores(target: Target, cpus: tuple[int, ...]) -> tuple[int, ...]:
    """Cores that both the generator and the server at a loopback address may run on.

    A server whose process cannot be seen is taken to run on every core.
    """
    if not target.loopback:
        return ()
    mine = set(cpus) or os.sched_getaffinity(0)
    theirs: set[int] = set()
    for pid in listeners(target.port):
        try:
            theirs |= os.sched_getaffinity(pid)
        except OSError:
            theirs |= set(range(os.cpu_count() or 1))
    return tuple(sorted(mine & (theirs or set(range(os.cpu_count() or 1)))))


def listeners(port: int) -> tuple[int, ...]:
    """Processes that listen on a TCP port of this machine and can be seen.

    Source: proc_pid_fd(5), proc_net(5): state 0A is LISTEN.
    """
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and int(cells[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{cells[9]}]")
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            links = {str(entry.readlink()) for entry in folder.iterdir()}
        except OSError:
            continue  # gone, or not ours to see
        if links & inodes:
            found.append(int(folder.parent.name))
    return tuple(sorted(found))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
