"""The stack's life: it restarts what dies, drains in order and leaves nothing behind."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.stack.probe import http_status


@pytest.fixture(scope="module")
def stack(start_stack, module_home, module_ports):
    return start_stack(module_home, module_ports)


def proc(stack, name: str) -> Path:
    return Path("/proc") / str(stack.state()["services"][name])


def test_every_process_has_its_role_in_its_command_line(stack):
    for role in ("router", "control-plane", "shipper", "explainer", "worker"):
        words = (proc(stack, role) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        assert f"interlock {role}" in words


def test_servers_do_not_run_as_root(stack):
    for name in ("postgres", "redis"):
        assert proc(stack, name).stat().st_uid != 0


def test_only_the_home_itself_can_be_entered_by_others(stack, module_home):
    for name in ("secrets", "postgres", "redis", "artifacts", "spool", "logs"):
        assert stat.S_IMODE((module_home / name).stat().st_mode) & 0o077 == 0, name


def test_second_stack_on_the_home_is_refused(stack, module_home, module_ports):
    words = [sys.executable, "-m", "interlock", "up", "--home", str(module_home), *module_ports]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"in use by another interlock up (process {stack.process.pid})" in done.stderr


@pytest.mark.parametrize("name", ["control-plane", "shipper", "postgres", "redis", "router"])
def test_killed_process_is_replaced(name, stack, wait_for_end):
    before = stack.state()["services"][name]
    os.kill(before, signal.SIGKILL)
    assert wait_for_end(before)
    log = stack.home / "logs" / "interlock.log"
    while stack.state()["services"][name] in (before, None):
        assert stack.process.poll() is None
    assert f"{name} was killed by SIGKILL" in log.read_text()


def test_stop_drains_in_order_and_leaves_nothing(stack, module_home, processes_of):
    port = stack.state()["ports"]["control_plane"]
    while asyncio.run(http_status("127.0.0.1", port, "/readyz")) != 200:
        assert stack.process.poll() is None  # it was killed above and is on its way back
    assert stack.stop() == 0
    log = (module_home / "logs" / "interlock.log").read_text().splitlines()
    ended = [line.split()[2] for line in log if line.endswith(" is stopped")]
    assert ended[0] == "router"
    assert ended.index("control-plane") < ended.index("shipper") < ended.index("postgres")
    assert processes_of(module_home) == []
    assert not (module_home / "stack.json").exists()


def test_killed_supervisor_leaves_no_orphan(module_home, module_ports, start_stack, wait_for_end):
    stack = start_stack(module_home, module_ports)
    pids = [pid for pid in stack.state()["services"].values() if pid]
    stack.process.kill()
    stack.process.wait()
    assert [pid for pid in pids if not wait_for_end(pid)] == []


def test_start_right_after_a_kill_waits_for_what_is_ending(module_home, module_ports, start_stack):
    first = start_stack(module_home, module_ports)
    first.process.kill()
    first.process.wait()
    second = start_stack(module_home, module_ports)
    assert second.stop(signal.SIGINT) == 0
