"""A real stack on a home of its own, on free ports."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

CLEAN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("DATABASE_URL", "REDIS_URL", "ARTIFACT_STORE", "INTERLOCK_HOME")
}
"""The environment without anything that points at another stack."""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def port_options() -> list[str]:
    """``--port`` and ``--control-port`` on free ports."""
    data, control = free_ports(2)
    return ["--port", str(data), "--control-port", str(control)]


class RunningStack:
    """An ``interlock up`` that serves."""

    def __init__(self, home: Path, options: list[str], given: dict[str, str]) -> None:
        self.home = home
        words = [sys.executable, "-m", "interlock", "up", "--home", str(home), *options]
        self.process = subprocess.Popen(
            words, env=CLEAN | given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""
        assert self.process.stdout is not None
        while "serving" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the stack did not start:\n{self.said}"
            self.said += line

    def state(self) -> dict:
        """The content of ``stack.json``."""
        return msgspec.json.decode((self.home / "stack.json").read_bytes())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.said += self.process.stdout.read()
        return self.process.wait(60)


@pytest.fixture(scope="module")
def module_home() -> Iterator[Path]:
    """A home shared by the tests of one file."""
    folder = Path(tempfile.mkdtemp(prefix="il-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def module_ports() -> list[str]:
    """Options with free ports, the same for one file."""
    return port_options()


@pytest.fixture(scope="module")
def start_stack() -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks; what still runs at the end is killed."""
    started: list[RunningStack] = []

    def start(home: Path, options: list[str], given: dict[str, str] | None = None) -> RunningStack:
        started.append(RunningStack(home, options, given or {}))
        return started[-1]

    yield start
    for stack in started:
        if stack.process.poll() is None:
            stack.process.kill()
            stack.process.wait()
        if stack.process.stdout is not None:
            stack.process.stdout.close()


@pytest.fixture
def wait_for_end() -> Callable[[int], bool]:
    """Waits until a process that is not our child has ended; whether it did."""

    def wait(pid: int, timeout_s: float = 15.0) -> bool:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(handle)

    return wait


@pytest.fixture
def processes_of() -> Callable[[Path], list[str]]:
    """Command lines of every process that has to do with a home."""

    def find(home: Path) -> list[str]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    words = (folder / "cmdline").read_bytes()
                    environment = (folder / "environ").read_bytes()
                except OSError:
                    continue
                if os.fsencode(home) in words + environment:
                    found.append(words.replace(b"\0", b" ").decode())
        return found

    return find
