"""A command that leads a session of its own under a terminal: signals and exit status pass."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TERMINAL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, lambda *_: None)  # a shell outlives the Ctrl-C of what it runs
print("shell", os.getsid(0), flush=True)
print("status", subprocess.call([sys.executable, "-c", sys.argv[1]]), flush=True)
"""
COMMAND = """
import os, signal, sys
from interlock.apart import in_own_session
in_own_session()
try:
    print("command", os.getsid(0), os.getpid(), flush=True)
    signal.sigtimedwait([], 30)
except KeyboardInterrupt:
    sys.exit(130)
"""


def lines_of(command, types):
    """What is printed under a terminal on which something is typed after the command began."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, command],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ):  # fmt: skip
        os.close(theirs)
        said = b""
        while not re.search(rb"status \S+\s", said):
            said += os.read(ours, 4096)
            if types and re.search(rb"command .*\n", said):
                os.write(ours, types)
                types = b""
    os.close(ours)
    return [line.split() for line in said.decode().replace("^C", "").splitlines() if line]


def test_ctrl_c_reaches_a_command_that_leads_its_own_session_and_its_status_comes_back():
    lines = lines_of(COMMAND, b"\x03")
    (shell,) = [line[1] for line in lines if line[0] == "shell"]
    (command,) = [line[1:] for line in lines if line[0] == "command"]
    assert command[0] == command[1] != shell
    assert lines[-1] == ["status", "130"]


def test_death_by_a_signal_comes_back_as_one():
    killed = COMMAND.replace("try:", "os.kill(os.getpid(), signal.SIGTERM)\ntry:")
    assert lines_of(killed, b"")[-1] == ["status", str(-signal.SIGTERM)]


def test_who_leads_a_session_stays_what_it_is():
    program = f"{COMMAND.split('try:', maxsplit=1)[0]}print(os.getppid())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")
def test_a_session_that_others_live_in_is_left_alone():
    program = (
        "from serving.priority import step_back; step_back();"
        "print('group', open('/proc/self/autogroup').read())"
    )
    lines = lines_of(program, b"")
    assert [line[-1] for line in lines if line[0] == "group"] == ["0"]
    own = subprocess.run(
        [sys.executable, "-c", program],
        start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert own.stdout.split()[-1] == "10"
