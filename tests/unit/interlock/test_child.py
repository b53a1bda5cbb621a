"""Children inherit sockets where they look for them, and run as whom they should."""

import os
import socket
import subprocess
import sys

import pytest

from interlock.child import process
from interlock.child.identity import unprivileged

PORTS = (
    "import os, socket\n"
    "assert os.environ['LISTEN_PID'] == str(os.getpid())\n"
    "count = int(os.environ['LISTEN_FDS'])\n"
    "print(*(socket.socket(fileno=3 + n).getsockname()[1] for n in range(count)))\n"
)


def run(text: str, **options) -> str:
    words = [sys.executable, "-I", "-S", "-c", text]
    child = process.start(words, stdout=subprocess.PIPE, **options)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return output.decode().strip()


def test_sockets_are_handed_over_in_order_from_descriptor_3():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
    try:
        wanted = [each.getsockname()[1] for each in sockets]
        assert run(PORTS, sockets=[each.fileno() for each in sockets]).split() == [
            *map(str, wanted)
        ]
        reverse = [each.fileno() for each in reversed(sockets)]
        assert run(PORTS, sockets=reverse).split() == [*map(str, reversed(wanted))]
    finally:
        for each in sockets:
            each.close()


def test_child_without_sockets_is_told_of_none():
    assert run("import os; print(os.environ.get('LISTEN_FDS'))") == "None"


def test_child_keeps_the_process_id_that_start_returned():
    child = process.start(
        [sys.executable, "-I", "-S", "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE
    )
    output, _ = child.communicate(timeout=60)
    assert int(output) == child.pid


def test_child_of_another_user_has_none_of_our_groups():
    identity = unprivileged()
    if identity is None:
        pytest.skip("only root can become another user")
    child = process.start(
        ["sh", "-c", "id -u; id -g; id -G"], stdout=subprocess.PIPE, identity=identity
    )
    said, _ = child.communicate(timeout=60)
    assert [int(word) for word in said.split()] == [identity.uid, identity.gid, identity.gid]
    assert identity.uid != 0


def test_program_that_does_not_exist_is_named():
    child = process.start(["no-such-program"], stderr=subprocess.PIPE)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"cannot run no-such-program" in said


def test_stubborn_child_is_killed_in_the_end():
    text = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    words = [sys.executable, "-I", "-S", "-u", "-c", text]
    with process.start(words, stdout=subprocess.PIPE, env=dict(os.environ)) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert process.stop(child, timeout_s=0.05) == -9
