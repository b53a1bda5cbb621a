"""The listening sockets of a node: one per worker, on one port, owned by the supervisor.

Each socket has SO_REUSEPORT, so the kernel spreads connections over the workers. They are bound
once by the outermost supervisor and inherited by file descriptor: while a worker is replaced, its
accept queue waits instead of being reset.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from router.errors import StartError

FIRST_FD = 3
BACKLOG = 4096


def bind_sockets(bind: str, port: int, count: int) -> list[socket.socket]:
    """``count`` listening sockets on one port; port 0 takes a free one for all.

    Raises:
        StartError: the address cannot be had.
    """
    sockets: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        if port:
            _probe(family, bind, port)
        for _ in range(count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((bind, port))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            port = listener.getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        in_use = error.errno == errno.EADDRINUSE
        raise StartError(
            f"cannot listen on {bind}:{port}: {os.strerror(error.errno or 0).lower()}",
            code="port.in_use" if in_use else "port.unusable",
            hint="choose another port with INTERLOCK_PORT" if in_use else "check INTERLOCK_BIND",
        ) from error
    return sockets


def _probe(family: int, bind: str, port: int) -> None:
    """Fail when somebody has the port: a shared one would silently take half of our connections."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((bind, port))
        probe.listen(1)


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Sockets handed over by a supervisor above us (LISTEN_FDS), or none.

    Source:
        sd_listen_fds(3).
    """
    count = environ.get("LISTEN_FDS", "")
    pid = environ.get("LISTEN_PID", "")
    if not count.isdigit() or (pid and pid != str(os.getpid())):
        return []
    return [socket.socket(fileno=FIRST_FD + number) for number in range(int(count))]
