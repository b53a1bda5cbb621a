"""A supervised process: restarted, stopped in time, never orphaned, every line logged."""

import asyncio
import io
import os
import select
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

from interlock.stack.log import Log
from interlock.stack.service import Service, ServiceSpec, StartError


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "all.log", Console(file=io.StringIO()))
    yield log
    log.close()


def program(text: str, **settings) -> ServiceSpec:
    command = (sys.executable, "-I", "-S", "-u", "-c", text)
    return ServiceSpec(name="thing", command=command, env=dict(os.environ), **settings)


SLEEPER = "import time; print('up'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, lambda *_: 0); print('up'); time.sleep(600)"


@asynccontextmanager
async def lines(log, path, count):
    """Leave once the log has ``count`` lines of output from the process."""
    yield
    async with asyncio.timeout(20):
        while path.read_text().count("thing") < count:
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_killed_process_is_started_again(log, tmp_path):
    async with Service(program(SLEEPER), log) as service:
        first = service.pid
        async with lines(log, tmp_path / "all.log", 1):
            pass
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while service.pid in (None, first):
                await asyncio.sleep(0.01)
        assert service.restarts == 1
        second = service.pid
    assert not alive(second)
    assert "thing was killed by SIGKILL; again in 0.1 s" in (tmp_path / "all.log").read_text()


async def test_stopped_process_is_not_started_again(log):
    async with Service(program(SLEEPER), log) as service:
        pid = service.pid
        await service.stop()
        assert service.pid is None
        assert service.restarts == 0
        await service.stop()
    assert not alive(pid)


async def test_process_that_ignores_the_signal_is_killed(log, tmp_path):
    async with Service(program(STUBBORN, stop_s=0.05), log) as service:
        pid = service.pid
        async with lines(log, tmp_path / "all.log", 1):
            pass
    assert not alive(pid)
    assert "did not end in time and is killed" in (tmp_path / "all.log").read_text()


async def test_process_that_ends_at_once_is_an_error_with_its_last_words(log):
    async def never(_: int) -> bool:
        return False

    spec = program("import sys; print('no such thing'); sys.exit(3)", ready=never)
    async with Service(spec, log) as service:
        with pytest.raises(StartError, match="thing ended with status 3") as error:
            await service.wait_ready()
    assert "no such thing" in error.value.hint


async def test_process_that_never_gets_ready_is_an_error(log):
    async def never(_: int) -> bool:
        return False

    async with Service(program(SLEEPER, ready=never, ready_s=0.05), log) as service:
        with pytest.raises(StartError, match="was not ready within"):
            await service.wait_ready()


async def test_line_longer_than_the_buffer_is_kept_whole_in_parts(log, tmp_path):
    text = "print('x' * 200_000); print('end')"
    async with Service(program(text), log):
        async with asyncio.timeout(20):
            while " end\n" not in (tmp_path / "all.log").read_text():
                await asyncio.sleep(0.01)
    assert (tmp_path / "all.log").read_text().count("x") >= 200_000


def test_child_dies_when_its_supervisor_is_killed():
    parent = (
        "import sys, time\n"
        "from interlock.child import process\n"
        "sleep = 'import time; time.sleep(600)'\n"
        "child = process.start([sys.executable, '-I', '-S', '-c', sleep])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        watched = os.pidfd_open(child)
        supervisor.kill()
        supervisor.wait()
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        assert poll.poll(10_000), "the child outlived its supervisor"
    finally:
        os.close(watched)
