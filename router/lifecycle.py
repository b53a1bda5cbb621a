"""One worker process from its first part to its last: started in order, stopped in reverse.

    spool, counters -> releases -> socket -> feed
    SIGTERM: not ready -> listener closed -> answers end their connections -> feed stopped
             -> refusals written -> spool sealed -> exit 0

The signals are ours: uvicorn would raise them again inside ``serve``; nothing after it would run.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from compiler.errors import AppError
from router.app import SlowLane
from router.arrivals import Arrivals
from router.desk import Desk
from router.door import TICK_S, Door
from router.errors import StartError
from router.fastlane import FastLane
from router.handlers.fast import FAST_HANDLERS
from router.handover import Giver, Taker
from router.idempotency import FolderStore, Idempotency, LazyRedisStore
from router.ledger import RedisLedger
from router.metrics.slots import Counters, series
from router.plane import Plane
from router.rates import Rates
from router.release.current import ReleaseLoader
from router.release.feed import Feed
from router.release.load import ModelShelf
from router.settings import RouterSettings
from router.subject import ensure_subject_key, load_subject_key
from serving.audit.seal import MasterKey, NodeSealer
from serving.audit.segment import SegmentWriter
from serving.priority import favour_loop
from serving.store import ArtifactStore
from serving.tls import Tls

_log = logging.getLogger(__name__)

FIRST_STATE_S = 3.0
"""How long a start without a local copy waits for the feed before it listens, not ready."""
SUMMARY_S = 60.0
PUBLIC_BYTES = 32


class Server(uvicorn.Server):
    """uvicorn without its signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the lifecycle."""
        yield


class Worker:
    """The parts of one worker process.

    Attributes:
        plane: answers requests.
        door: what its connections share.
        server: uvicorn on our protocol.
        feed: keeps releases and keys up to date.

    Args:
        settings: of the node.
        number: of the worker.
        listener: its socket; only its port matters to the process of the streams.
        link: where connections that stream are passed on; None to keep them.
        apart: it is the process of the streams.
    """

    def __init__(
        self,
        settings: RouterSettings,
        number: int,
        listener: socket.socket,
        link: socket.socket | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self.settings = settings
        self.number = number
        self.listener = listener
        secret = settings.subject_key or ensure_subject_key(
            settings.home / "secrets" / "subject.key"
        )
        self.hasher = load_subject_key(secret)
        self.root_public = read_root_key(settings.root_key)
        self.sealer = (
            NodeSealer(MasterKey.load(settings.master_key), settings.node)
            if settings.master_key is not None
            else None
        )
        self.link = link
        self.apart = apart
        self.server: Server | None = None
        self._stopping = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, then stop in order."""
        self._take_signals()
        async with contextlib.AsyncExitStack() as stack:
            desk = await stack.enter_async_context(self._desk())
            self.plane = Plane(self.settings, desk, FAST_HANDLERS)
            self.plane.idempotency = self._idempotency()
            self.plane.rates = self._rates()
            self.door = Door(self.plane)
            self.slow_lane = SlowLane(self.plane)
            self.tls = Tls(self.settings.tls) if self.settings.tls is not None else None
            self.server = server = self._server()
            self.arrivals = Arrivals(server, protocol_for(self.door), server.config.ssl)
            self.door.apart = self.apart
            if self.link is not None and not self.apart:
                self.door.giver = Giver(self.link)
            store = await asyncio.to_thread(ArtifactStore.open, self.settings.artifact_store)
            shelf = ModelShelf(store, self.settings.models)
            loader = ReleaseLoader(
                self.root_public, shelf, can_seal=self.settings.master_key is not None
            )
            self.feed = Feed(self.plane, loader, port=self.listener.getsockname()[1])
            stack.callback(self.plane.refusals.flush, time.time_ns())
            had_copy = await self.feed.from_disk()
            await stack.enter_async_context(self._feeding(had_copy=had_copy))
            await stack.enter_async_context(task(self._tick(server), "tick"))
            await stack.enter_async_context(task(self.plane.durability.run(), "durability"))
            await stack.enter_async_context(task(self.plane.rates.keep(), "rates"))
            if self._stopping:
                return
            sockets = [] if self.apart else [self.listener]
            serving = asyncio.create_task(server.serve(sockets=sockets), name="serve")
            if self.apart and self.link is not None:
                self.listener.close()
                stack.enter_context(Taker(self.link, self.arrivals.take).taking())
            await self._announce(server, serving, on_ready)
            await serving
        _log.info("worker %d stopped", self.number)

    @contextlib.asynccontextmanager
    async def _desk(self) -> AsyncIterator[Desk]:
        """Spool and counters; closed last, so that everything before still leaves its evidence."""
        settings = self.settings
        spool = await asyncio.to_thread(
            lambda: SegmentWriter(
                settings.spool_dir,
                settings.node,
                self.number,
                segment_bytes=settings.segment_bytes,
                spool_limit_bytes=settings.spool_limit_bytes,
            )
        )
        counters = Counters(settings.metrics_dir, self.number)
        try:
            yield Desk(
                settings.node,
                self.number,
                spool,
                counters,
                self.hasher,
                slow_ms=settings.slow_ms,
                sealer=self.sealer,
            )
        finally:
            await asyncio.to_thread(spool.close)
            counters.close()

    @contextlib.asynccontextmanager
    async def _feeding(self, *, had_copy: bool) -> AsyncIterator[None]:
        """The feed as a side task; without a database what is on the disk is all there is."""
        if self.settings.database_url is None:
            if not had_copy:
                self.plane.loaded = True
                _log.warning("no database and no local copy: nothing to serve yet")
            yield
            return
        async with task(self.feed.run(), "feed"):
            if not had_copy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.feed.first.wait(), FIRST_STATE_S)
            if self.settings.redis_url is not None:
                from router.release.doorbell import listen

                async with task(listen(self.settings.redis_url, self.feed.rung), "doorbell"):
                    yield
            else:
                yield

    def _idempotency(self) -> Idempotency:
        """Answers for repeats: shared through Redis, else between the workers of this node."""
        local = FolderStore(self.settings.home / "run" / f"answers-{self.settings.node}")
        url = self.settings.redis_url
        shared = LazyRedisStore(url) if url is not None else None
        return Idempotency(self.hasher.derive("idempotency"), local, shared)

    def _rates(self) -> Rates:
        """Rates of keys: of all nodes through Redis, else of this node."""
        url, lease_s = self.settings.redis_url, self.settings.limits.lease_ms / 1000
        return Rates(self.settings.workers, RedisLedger(url) if url else None, lease_s)

    def _server(self) -> Server:
        config = uvicorn.Config(
            self.slow_lane,
            http=protocol_for(self.door),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(self.settings.http.idle_timeout_s),
            timeout_graceful_shutdown=int(self.settings.http.drain_s),
            backlog=4096,
        )
        config.load()
        if self.tls is not None:
            config.ssl = self.tls.context
        return Server(config)

    async def _announce(
        self, server: Server, serving: asyncio.Task[None], on_ready: Callable[[], None]
    ) -> None:
        """Say that the worker listens, then fetch the framework in the background."""
        while not server.started and not serving.done():  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()
            raise StartError("the server ended before it started")
        favour_loop()
        on_ready()
        _log.info(
            "worker %d serves %d endpoints (pid %d)",
            self.number,
            len(self.plane.current.endpoints),
            os.getpid(),
        )
        if not self.settings.fastlane:
            await self.slow_lane.framework()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)

    def drain(self) -> None:
        """Refuse nothing that was sent, welcome nothing new; a second call insists."""
        again, self._stopping = self._stopping, True
        if self.server is None:
            return  # the start notices before it listens
        self.server.force_exit = again
        self.plane.draining = True
        self.door.draining = True
        self.server.should_exit = True

    async def _tick(self, server: Server) -> None:
        """The clock of the connections, gauges once a second, the summary once a minute."""
        counters, door = self.plane.desk.counters, self.door
        lag = counters.slot(series("interlock_loop_lag_seconds", worker=self.number))
        connections = counters.slot("interlock_connections")
        in_flight = counters.slot("interlock_in_flight")
        records = counters.slot("interlock_audit_records_total")
        exposed = counters.slot(series("interlock_audit_exposed_records", worker=self.number))
        exposure = counters.slot(series("interlock_audit_exposure_seconds", worker=self.number))
        spool = self.plane.desk.spool
        summary_at = time.monotonic() + SUMMARY_S
        due = time.monotonic() + TICK_S
        while True:
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            late, due = now - due, now + TICK_S
            state = server.server_state
            door.tick(state.default_headers, state.connections)
            if not self.apart and not self._stopping:
                self.arrivals.welcome(self.listener)
            self.plane.shedder.measure(late)
            counters.values[lag] = int(late * 1e6)
            counters.values[connections] = len(state.connections)
            counters.values[in_flight] = len(state.tasks)
            counters.values[records] = spool.last_seq
            counters.values[exposed], age_ms = self.plane.durability.exposed()
            counters.values[exposure] = int(age_ms * 1000)
            self.plane.desk.log_slow()
            self.plane.desk.note_answers()
            if self.tls is not None:
                self.tls.refresh()
            if now >= summary_at:
                summary_at = now + SUMMARY_S
                self.plane.refusals.flush(time.time_ns())


@contextlib.asynccontextmanager
async def task(work: Any, name: str) -> AsyncIterator[None]:
    """A side task that lives as long as the block; its failure ends the process by name."""
    owner = asyncio.current_task()

    def died(done: asyncio.Task[Any]) -> None:
        if not done.cancelled() and done.exception() is not None:
            _log.critical("part %r failed", name, exc_info=done.exception())
            if owner is not None:
                owner.cancel(f"part {name!r} failed")

    running = asyncio.create_task(work, name=name)
    running.add_done_callback(died)
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def protocol_for(door: Door) -> type[FastLane]:
    """The protocol class of one worker."""
    return type("WorkerFastLane", (FastLane,), {"door": door})


def read_root_key(text: str) -> bytes:
    """The public root key from base64 or from a file that holds it.

    Raises:
        StartError: neither.
    """
    given = text
    path = Path(text).expanduser()
    try:
        if path.is_file():
            given = path.read_text().strip()
        key = base64.b64decode(given, validate=True)
    except (OSError, ValueError) as error:
        raise StartError(
            f"the root key cannot be read from {text!r}",
            code="root.key",
            hint="give the base64 of the public root key, or the file that holds it",
        ) from error
    if len(key) != PUBLIC_BYTES:
        raise StartError(f"expected a root key of 32 bytes, got {len(key)}", code="root.key")
    return key


def check_settings(settings: RouterSettings) -> None:
    """Fail early, in one sentence, on what no worker could start with.

    Raises:
        AppError: a key that cannot be read, a folder that cannot be written.
    """
    read_root_key(settings.root_key)
    for folder in (settings.home, settings.spool_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"cannot write to {folder}: {error.strerror}", code="home.unwritable"
            ) from error
    if settings.subject_key is not None:
        load_subject_key(settings.subject_key)
    if settings.master_key is not None:
        MasterKey.load(settings.master_key)
    if settings.tls is not None:
        Tls(settings.tls)
    ArtifactStore.open(settings.artifact_store)


__all__ = ["AppError", "Server", "Worker", "check_settings", "read_root_key", "task"]
