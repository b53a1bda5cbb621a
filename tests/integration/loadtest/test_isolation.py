"""Isolation: a disturbance is found where there is one, and in the windows where it was on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from loadtest.bench.isolation import isolation
from loadtest.bench.measure import Requests
from loadtest.bench.node import Server
from loadtest.errors import TargetError
from loadtest.plan import Target
from loadtest.proc import waited_ns
from loadtest.processes import null_server

REQUESTS = Requests("/", (b"{}",))


@contextlib.contextmanager
def stopped_now_and_then(pid: int) -> Iterator[None]:
    """The server stands still for 30 ms again and again: nobody could miss it."""
    over = threading.Event()

    def stop() -> None:
        while not over.wait(0.03):
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.03)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_disturbance_shows_in_its_own_windows() -> None:
    with null_server() as (port, pid):
        found = isolation(
            Server("null", Target("127.0.0.1", port), pid),
            REQUESTS,
            lambda: stopped_now_and_then(pid),
            rate=300,
            cpu=0,
            connections=4,
            rounds=2,
            window_s=0.4,
        )
    assert [each.disturbed for each in found.windows] == [False, True, True, False]
    assert found.p99_us[1] > 15_000
    assert found.ratio == found.p99_us[1] / found.p99_us[0]
    assert found.p50_us[0] <= found.p99_us[0]
    assert found.errors == (0, 0)
    assert all(100 < each.requests < 1000 for each in found.windows)
    assert found.spread >= 1


def test_time_without_a_core_is_counted_where_a_core_is_wanted_by_several() -> None:
    cpu = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nprint()\nwhile True: pass"
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(3):
            each = subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE)
            stack.callback(each.wait)
            stack.callback(each.kill)
            assert each.stdout is not None
            stack.callback(each.stdout.close)
            crowd.append(each)
        for each in crowd:
            each.stdout.readline()
        before = sum(waited_ns(each.pid) for each in crowd)
        time.sleep(0.6)
        waited_s = (sum(waited_ns(each.pid) for each in crowd) - before) / 1e9
    assert waited_s > 0.5  # three want it all the time: two of them always wait
    assert waited_ns(crowd[0].pid) == 0


def test_disturbance_that_cannot_start_ends_the_measurement() -> None:
    def refuse() -> contextlib.AbstractContextManager[None]:
        raise TargetError("the stream was refused")

    with null_server() as (port, pid):
        server = Server("null", Target("127.0.0.1", port), pid)
        with pytest.raises(TargetError, match="was refused"):
            isolation(server, REQUESTS, refuse, rate=100, cpu=0, connections=2, window_s=0.1)
