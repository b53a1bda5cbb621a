"""One supervised process: started, watched, restarted when it dies, stopped when asked."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, TYPE_CHECKING, Self

from msgspec import Struct

from compiler.errors import AppError
from interlock.child import process
from interlock.child.identity import Identity

if TYPE_CHECKING:
    from interlock.stack.log import Log

READY_POLL_S = 0.02
LINE_BYTES = 64 << 10
LAST_WORDS_S = 1.0
"""How long children of an ended process may still write to its log."""


class StartError(AppError):
    """A process of the stack did not start."""

    code = "stack.start"


class ServiceSpec(Struct, frozen=True):
    """What to run and how to treat it.

    Attributes:
        name: shown in log and messages.
        command: program and arguments; the role stays visible in it.
        env: the whole environment.
        ready: given the process id, whether it does its work; None = once it runs.
        ready_s: longest time to become ready at the first start.
        identity: user it runs as; None = ours.
        stop_signal: asks it to end.
        stop_s: longest time to end before it is killed.
        death_signal: what the kernel sends it when we die.
        sockets: listening sockets it inherits; they stay ours, so that while it is replaced
            connections wait instead of being refused.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[int], Awaitable[bool]] | None = None
    ready_s: float = 60.0
    identity: Identity | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s: float = 15.0
    death_signal: signal.Signals = signal.SIGTERM
    sockets: tuple[int, ...] = ()


class Backoff:
    """Pauses between restarts: doubling, forgotten after a good while alive.

    >>> backoff = Backoff()
    >>> [backoff.after(alive_s=0.0) for _ in range(3)]
    [0.1, 0.2, 0.4]
    >>> backoff.after(alive_s=60.0)
    0.1
    """

    def __init__(self, first_s: float = 0.1, longest_s: float = 10.0, good_s: float = 30.0) -> None:
        self._first_s, self._longest_s, self._good_s = first_s, longest_s, good_s
        self._next_s = first_s

    def after(self, alive_s: float) -> float:
        """Seconds to wait after a life of ``alive_s`` seconds."""
        if alive_s >= self._good_s:
            self._next_s = self._first_s
        pause, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return pause


class Service:
    """The running side of a :class:`ServiceSpec`; ``async with`` starts and stops it.

    Must be used on the main thread: the kernel's death signal belongs to the thread that forks.

    Args:
        spec: what to run.
        log: receives its output.
        changed: called after every start and end, for the state file.
    """

    def __init__(
        self, spec: ServiceSpec, log: Log, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self._log = log
        self._changed = changed
        self._child: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        if self._child is None or self._ended is None or self._ended.done():
            return None
        return self._child.pid

    async def __aenter__(self) -> Self:
        """Start the process and watch it."""
        self._spawn()
        self._watch = asyncio.create_task(self._supervise(), name=f"watch {self.spec.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the process: asked first, killed after ``stop_s``."""
        await self.stop()

    def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        child = process.start(
            self.spec.command,
            identity=self.spec.identity,
            env=self.spec.env,
            death_signal=self.spec.death_signal,
            sockets=self.spec.sockets,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdout is not None
        ended: asyncio.Future[int] = loop.create_future()
        self._child, self._ended, self._started_at = child, ended, time.monotonic()
        pump = asyncio.create_task(self._read(child.stdout), name=f"read {self.spec.name}")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

        def settle(status: int) -> None:
            if not ended.done():
                ended.set_result(status)

        def wait() -> None:
            status = child.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(settle, status)

        threading.Thread(target=wait, name=f"wait {self.spec.name}", daemon=True).start()
        self._changed()

    async def _read(self, pipe: IO[bytes]) -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        try:
            while True:
                try:
                    line = await reader.readuntil(b"\n")
                except asyncio.LimitOverrunError as error:
                    line = await reader.read(error.consumed or LINE_BYTES)
                except asyncio.IncompleteReadError as error:
                    line = error.partial
                if not line:
                    return
                self._log.write(self.spec.name, line.decode(errors="replace"))
        finally:
            transport.close()

    async def _supervise(self) -> None:
        """Start the process again each time it ends without being asked to."""
        backoff = Backoff()
        while True:
            assert self._ended is not None
            status = await asyncio.shield(self._ended)
            if self._stopping:
                return
            self._changed()
            await self._again(backoff, describe(status))

    async def _again(self, backoff: Backoff, why: str) -> None:
        """Start the process after a pause, and after a longer one if even that fails."""
        while not self._stopping:
            pause = backoff.after(time.monotonic() - self._started_at)
            self._log.event(f"{self.spec.name} {why}; again in {pause:.1f} s")
            await asyncio.sleep(pause)
            self.restarts += 1
            try:
                self._spawn()
            except OSError as error:  # no memory, too many processes
                why = f"cannot be started: {error.strerror}"
            else:
                return

    async def wait_ready(self) -> None:
        """Wait until it does its work for the first time.

        Raises:
            StartError: it ended or was too slow; with its last lines.
        """
        assert self._child is not None
        assert self._ended is not None
        ended, pid = self._ended, self._child.pid
        deadline = time.monotonic() + self.spec.ready_s
        while self.spec.ready is not None and not await self.spec.ready(pid):
            if ended.done():
                break
            if time.monotonic() > deadline:
                raise self._start_error(f"was not ready within {self.spec.ready_s:.0f} s")
            await asyncio.sleep(READY_POLL_S)
        if ended.done():
            raise self._start_error(describe(ended.result()))

    def check_alive(self) -> None:
        """Prove that it runs and never had to be restarted; for those that have no readiness.

        Raises:
            StartError: it ended meanwhile.
        """
        assert self._ended is not None
        if self._ended.done():
            raise self._start_error(describe(self._ended.result()))
        if self.restarts:
            raise self._start_error(f"had to be restarted {self.restarts} times")

    def _start_error(self, what: str) -> StartError:
        said = self._log.tail(self.spec.name)
        return StartError(
            f"{self.spec.name} {what}",
            at=self.spec.name,
            hint=f"its last words:\n{said}" if said else "it said nothing; see the log",
        )

    async def stop(self) -> None:
        """End the process and the watching; safe to call twice."""
        self._stopping = True
        if self._child is not None and self._ended is not None and not self._ended.done():
            self._send(self.spec.stop_signal)
            done, _ = await asyncio.wait([self._ended], timeout=self.spec.stop_s)
            if not done:
                self._log.event(f"{self.spec.name} did not end in time and is killed")
                self._send(signal.SIGKILL)
                await self._ended
            self._log.write("up", f"{self.spec.name} is stopped")
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._pumps:
            _, still = await asyncio.wait(self._pumps, timeout=LAST_WORDS_S)
            for pump in still:
                pump.cancel()
        self._changed()

    def _send(self, number: signal.Signals) -> None:
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)


def describe(status: int) -> str:
    """How a process ended, in words.

    >>> describe(0), describe(3), describe(-9)
    ('ended', 'ended with status 3', 'was killed by SIGKILL')
    """
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else "ended"
