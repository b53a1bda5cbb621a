"""Starts and stops child processes that the kernel ends when we die, whatever kills us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from interlock.child.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHER = Path(__file__).with_name("launch.py")


def start(
    command: Sequence[str],
    *,
    identity: Identity | None = None,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    sockets: Sequence[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A running child in a session of its own.

    The session keeps a Ctrl-C in the terminal from reaching every child at once: the supervisor
    stops them in its order. The child keeps the process id that is returned.

    Args:
        command: program and arguments; the program is looked up on the path.
        identity: user to become first; needs root.
        env: the whole environment of the child; ours when None.
        death_signal: what the kernel sends to the child when we are gone.
        stdin: as for :class:`subprocess.Popen`, as are ``stdout`` and ``stderr``.
        stdout: see above.
        stderr: see above.
        sockets: file descriptors of listening sockets, handed over as sd_listen_fds(3) says.
        cwd: working directory; ours when None.
    """
    uid, gid = (identity.uid, identity.gid) if identity else (-1, -1)
    words = [str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    words += [",".join(map(str, sockets)) or "-", *command]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), *words],
        env=dict(env) if env is not None else None,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(sockets),
        cwd=cwd,
        start_new_session=True,
    )


def stop(
    child: subprocess.Popen[bytes],
    *,
    with_signal: signal.Signals = signal.SIGTERM,
    timeout_s: float = 10.0,
) -> int:
    """Ask a child to end, insist after ``timeout_s``; its exit status (negative = signal)."""
    if child.poll() is None:
        child.send_signal(with_signal)
        try:
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()
