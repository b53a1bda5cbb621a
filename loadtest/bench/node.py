"""One router node on one core, started from a folder: ``python -m loadtest.bench.node SETTINGS``.

The parent measures the processor time of the whole process tree, so that no work is left out by
being done in another process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.errors import LoadTestError, TargetError
from loadtest.plan import Target
from loadtest.preflight import exchange
from loadtest.proc import cpu_seconds, rss_anon_kb, tree
from loadtest.requests import build_request
from router.settings import RouterSettings, decode_settings, encode_settings
from serving.lifeline import die_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loadtest.bench.credit import Node


class Server:
    """A server under test.

    Attributes:
        name: for tables.
        target: its address.
        pid: root of its process tree.
    """

    def __init__(self, name: str, target: Target, pid: int) -> None:
        self.name = name
        self.target = target
        self.pid = pid

    def cpu_s(self) -> float:
        """User and system seconds of the process tree so far."""
        return sum(cpu_seconds(pid) for pid in tree(self.pid))

    def rss_anon_mb(self) -> float:
        """Private memory of the process that holds most of it, in MiB."""
        return max((rss_anon_kb(pid) for pid in tree(self.pid)), default=0) / 1024


@contextlib.contextmanager
def router(node: Node, cpu: int, *, name: str = "interlock") -> Iterator[Server]:
    """One router worker on one core, serving the node's folder."""
    port = free_port()
    settings = RouterSettings(
        artifact_store=str(node.folder / "store"),
        home=node.folder / "home",
        spool_dir=node.folder / "spool",
        root_key=node.root_key,
        port=port,
        workers=1,
        node="bench",
    )
    file = node.folder / "router.json"
    file.write_bytes(encode_settings(settings))
    command = [sys.executable, "-m", "loadtest.bench.node", str(file)]
    with child(name, command, port, cpu, node.folder / f"{name}.log", ready="/readyz") as server:
        yield server


@contextlib.contextmanager
def child(
    name: str, command: Sequence[str], port: int, cpu: int, log: Path, *, ready: str,
    folder: Path | None = None,
) -> Iterator[Server]:  # fmt: skip
    """A server process pinned to a core, from its readiness to its end.

    Args:
        name: for tables.
        command: starts it.
        port: that it listens on.
        cpu: core of all its processes.
        log: what it prints.
        ready: path that answers 200 when it serves.
        folder: where it runs, finds its modules and keeps its files; default ours.

    Raises:
        TargetError: it ended or was not ready within 60 seconds; shows the end of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
            env={
                **os.environ,
                "ORT_DISABLE_TELEMETRY": "1",
                **({"PYTHONPATH": str(folder), "HOME": str(folder)} if folder else {}),
            },
        )
        try:
            os.sched_setaffinity(process.pid, {cpu})
            target = Target("127.0.0.1", port)
            _wait_ready(process, target, ready, log)
            for pid in tree(process.pid):
                os.sched_setaffinity(pid, {cpu})
            yield Server(name, target, process.pid)
        finally:
            _end(process)


def _wait_ready(process: subprocess.Popen[bytes], target: Target, path: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    request = build_request(target, path, b"", method="GET", keep_alive=False)
    while True:
        try:
            if exchange(target, request, 2.0).status == 200:
                return
        except TargetError:
            pass  # not listening yet
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise TargetError(f"the server did not become ready:\n{tail}", at=str(log))
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, then make it; and whatever it started that left the group."""
    family = []
    for pid in tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            family.append(os.pidfd_open(pid))  # a number may be another process by the end
    for how, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for each in family:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(each, signal.SIGKILL)
        os.close(each)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Run a router from encoded settings."""
    try:
        from router.serve import run
    except ImportError as error:
        raise LoadTestError(f"this installation has no router to measure ({error})") from None
    die_with(os.getppid(), signal.SIGTERM)
    run(decode_settings(Path(sys.argv[1]).read_bytes()))


if __name__ == "__main__":
    main()
