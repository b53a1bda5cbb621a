"""The supervisor of a router node: N workers on one port, replaced when they die.

It owns the listening sockets and nothing else: no event loop, no database, no model, so there is
little that could stop it. SIGTERM and SIGINT drain all workers and exit 0; SIGHUP replaces them one
by one, each successor ready before its predecessor drains.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from router.errors import StartError
from router.handover import handover_pair
from router.settings import RouterSettings, encode_settings
from router.sockets import bind_sockets, inherited_sockets
from router.worker import EXIT_START, READY

_log = logging.getLogger(__name__)

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 10.0
"""A worker that lived this long is replaced at once when it dies."""
KILL_AFTER_S = 5.0
"""Added to the drain time before a worker that does not end is killed."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Child:
    """One running worker process."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], ready_fd: int) -> None:
        self.number = number
        self.process = process
        self.ready_fd = ready_fd
        self.ready = False
        self.started = time.monotonic()
        self.draining_since: float | None = None

    def drain(self) -> None:
        """Ask it to end."""
        if self.draining_since is None:
            self.draining_since = time.monotonic()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)


class Supervisor:
    """Keeps one worker per socket alive.

    Args:
        settings: of the node.
        sockets: listening sockets, one per worker.

    The process of the streams has the number behind the last worker. It is started when the first
    connection is passed on, which shows on ``links[0]``, and again so after its end.
    """

    def __init__(self, settings: RouterSettings, sockets: list[socket.socket]) -> None:
        self.settings = settings
        self.sockets = sockets
        apart = settings.streams_apart and settings.tls is None
        self.links = handover_pair() if apart else None
        self.stopping = False
        self.failed: int | None = None
        self._children: list[Child] = []
        self._due: dict[int, float] = {}
        self._deaths = [0] * (len(sockets) + 1)
        self._ever_ready = False
        self._rolling: list[int] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Supervise until told to stop; returns the exit status."""
        with wakeup_pipe() as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ, "signal")
            for number in range(len(self.sockets)):
                self._start(number)
            self._watch()
            while self._children or (self._due and not self.stopping):
                for key, _ in self._selector.select(self._patience()):
                    if key.data == "signal":
                        self._take_signals(os.read(wakeup, 64))
                    elif key.data == "stream":
                        self._selector.unregister(key.fileobj)
                        self._start(self.apart)
                    else:
                        self._hear(key.data)
                self._bury()
                self._care()
        return self.failed or 0

    @property
    def apart(self) -> int:
        """Number of the process of the streams."""
        return len(self.sockets)

    def _watch(self) -> None:
        """Start the process of the streams when a connection waits for it."""
        if self.links is not None:
            self._selector.register(self.links[0], selectors.EVENT_READ, "stream")

    def _patience(self) -> float:
        """How long nothing needs doing."""
        return 0.1 if self._due or self.stopping or self._rolling else 1.0

    def _take_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                if self.stopping:
                    for child in self._children:
                        child.process.send_signal(number)
                self.stop()
            elif number == signal.SIGHUP and not self.stopping:
                self._rolling = sorted({*range(self.apart), *(c.number for c in self._children)})

    def stop(self) -> None:
        """Drain every worker and start no other."""
        self.stopping = True
        self._due.clear()
        self._rolling.clear()
        for child in self._children:
            child.drain()
        for each in (*self.sockets, *(self.links or ())):
            each.close()

    def _start(self, number: int) -> None:
        """One worker process on its socket."""
        self._due.pop(number, None)
        settings_read, settings_write = os.pipe()
        ready_read, ready_write = os.pipe()
        listener = self.sockets[number % self.apart].fileno()
        link = -1 if self.links is None else self.links[number < self.apart].fileno()
        fds = (settings_read, listener, ready_write, link)
        command = [sys.executable, "-m", "router.worker", "interlock router", str(number)]
        command += [str(int(number == self.apart)), *map(str, fds), str(os.getpid())]
        process = subprocess.Popen(
            command,
            pass_fds=[fd for fd in fds if fd >= 0],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches the workers through us, in order
        )
        os.close(settings_read)
        os.close(ready_write)
        with os.fdopen(settings_write, "wb") as file:
            file.write(encode_settings(self.settings))
        os.set_blocking(ready_read, False)
        child = Child(number, process, ready_read)
        self._children.append(child)
        self._selector.register(ready_read, selectors.EVENT_READ, child)

    def _hear(self, child: Child) -> None:
        """A worker is ready, or its pipe closed."""
        child.ready = os.read(child.ready_fd, 1) == READY or child.ready
        self._selector.unregister(child.ready_fd)
        os.close(child.ready_fd)
        child.ready_fd = -1
        if not child.ready:
            return
        self._ever_ready = True
        for other in self._children:
            if (
                other.number == child.number
                and other is not child
                and other.started < child.started
            ):
                other.drain()

    def _bury(self) -> None:
        """Take leave of workers that ended; plan their replacement."""
        for child in list(self._children):
            status = child.process.poll()
            if status is None:
                continue
            self._children.remove(child)
            if child.ready_fd >= 0:
                self._selector.unregister(child.ready_fd)
                os.close(child.ready_fd)
            if self.stopping or child.draining_since is not None:
                continue
            if any(other.number == child.number for other in self._children):
                continue
            if status == EXIT_START and not self._ever_ready:
                self.failed = 1
                self.stop()
                return
            self._plan(child, status)

    def _plan(self, child: Child, status: int) -> None:
        """Replace a worker that died: at once, or later when it keeps dying."""
        number = child.number
        steady = time.monotonic() - child.started > STEADY_S
        self._deaths[number] = 0 if steady else min(self._deaths[number] + 1, len(BACKOFF_S) - 1)
        wait_s = BACKOFF_S[max(self._deaths[number] - 1, 0)] if not steady else 0.0
        self._due[number] = time.monotonic() + wait_s
        how = f"signal {-status}" if status < 0 else f"status {status}"
        _log.warning(
            "worker %d (pid %d) ended with %s; replaced in %.1f s",
            number,
            child.process.pid,
            how,
            wait_s,
        )

    def _care(self) -> None:
        """Start what is due, roll on, end what does not end."""
        now = time.monotonic()
        for number, due in list(self._due.items()):
            if due <= now and not self.stopping and number == self.apart:
                del self._due[number]
                self._watch()
            elif due <= now and not self.stopping:
                self._start(number)
        self._roll()
        limit = self.settings.http.drain_s + KILL_AFTER_S
        for child in self._children:
            if child.draining_since is not None and now - child.draining_since > limit:
                _log.error("worker %d did not drain in %.0f s; killed", child.number, limit)
                child.process.kill()
                child.draining_since = now
            unready_s = now - child.started
            if (
                not child.ready
                and child.draining_since is None
                and unready_s > self.settings.start_timeout_s
            ):
                _log.error("worker %d was not ready in %.0f s; killed", child.number, unready_s)
                child.process.kill()
                child.started = now

    def _roll(self) -> None:
        """Rolling restart: one successor at a time, the next when its predecessor is gone."""
        if not self._rolling or any(child.draining_since is not None for child in self._children):
            return
        if any(not child.ready for child in self._children) or self._due:
            return
        self._start(self._rolling.pop(0))


@contextmanager
def wakeup_pipe() -> Iterator[int]:
    """A file descriptor that becomes readable when a signal of ours arrives."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)

    def take(*_: Any) -> None:
        """The number arrives through the pipe."""

    kept = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield read
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def run(settings: RouterSettings) -> None:
    """Serve until told to stop; returns when every worker has drained.

    Raises:
        StartError: the node cannot start.
    """
    from router.lifecycle import check_settings

    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    check_settings(settings)
    sockets = inherited_sockets(os.environ)[: settings.workers]
    if not sockets:
        sockets = bind_sockets(settings.bind, settings.port, settings.workers)
    host, port = sockets[0].getsockname()[:2]
    _log.info("router %s: %d workers on %s:%d", settings.node, len(sockets), host, port)
    status = Supervisor(settings, sockets).run()
    if status:
        raise StartError("the workers could not start; the lines above name the reason")
