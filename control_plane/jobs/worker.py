"""The job worker: takes jobs from the queue, keeps their leases, and gives each a stated end.

One worker has a few slots; each slot has a child process that does the work while this process
keeps the lease. A worker that dies leaves a lease that ends, and any other worker then queues the
job again or ends it. SIGTERM gives running jobs back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from compiler.errors import AppError, Problem
from control_plane.db.pool import Connection, Pool
from control_plane.jobs import store
from control_plane.jobs.bell import Bell
from control_plane.jobs.schemas import Claim, Event, Failed, Finished, Note, Order, Progress
from control_plane.jobs.slot import KINDS_PATH, ChildDiedError, Slot, forget_the_dead
from control_plane.settings import PoolSettings, WorkerSettings

FLUSH_S = 0.25
"""How often news of a running job are written; between news only the lease is renewed."""
RETRY_DELAY_S = 2.0
"""Wait before the second try; doubles with each."""

_log = logging.getLogger(__name__)


def run(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT; running jobs are then given back to the queue.

    Raises:
        SetupError: the database cannot be reached.
    """
    asyncio.run(_run(settings))


async def _run(settings: WorkerSettings) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()


def worker_name(settings: WorkerSettings) -> str:
    """Unique among workers: two processes must never share the right to write."""
    base = settings.name or socket.gethostname()
    return f"{base}/{os.getpid()}-{time.time_ns():x}"


class Worker:
    """Slots, their leases and the watch over other workers' leases."""

    def __init__(
        self, settings: WorkerSettings, *, slots: int = 0, kinds_path: str = KINDS_PATH
    ) -> None:
        self.settings = settings
        self.name = worker_name(settings)
        self._slots = slots or max(1, min(2, os.cpu_count() or 1))
        self._kinds_path = kinds_path
        self._stopping = asyncio.Event()
        self._pool: Pool
        self._bell: Bell

    def stop(self) -> None:
        """Take no more jobs and give back the running ones."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until :meth:`stop`.

        Raises:
            SetupError: the database cannot be reached at the start.
        """
        forget_the_dead(self.settings.home)
        settings = PoolSettings(self.settings.database_url, max_size=self._slots * 2 + 1)
        async with Pool(settings) as self._pool, Bell(self.settings.database_url) as self._bell:
            _log.info("worker %s ready, %d slots", self.name, self._slots)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reap(), name="jobs: reaper")
                for number in range(self._slots):
                    group.create_task(self._serve(number), name=f"jobs: slot {number}")
                group.create_task(self._ring_at_stop(), name="jobs: stop")
        _log.info("worker %s stopped", self.name)

    async def _ring_at_stop(self) -> None:
        await self._stopping.wait()
        self._bell.ring()

    async def _serve(self, number: int) -> None:
        async with Slot(self.settings.home, number, self._kinds_path) as slot:
            while not self._stopping.is_set():
                claim = await self._claim()
                if claim is None:
                    await self._bell.wait(self.settings.poll_s)
                    continue
                await Hold(
                    self.settings,
                    claim=claim,
                    slot=slot,
                    pool=self._pool,
                    bell=self._bell,
                    stopping=self._stopping,
                ).run()

    async def _claim(self) -> Claim | None:
        try:
            async with self._pool.transaction() as connection:
                return await store.claim(connection, self.name, self.settings.lease_s)
        except AppError as error:
            _log.warning("worker: cannot look for jobs: %s", error)
            return None

    async def _reap(self) -> None:
        """Queue again, or end, what silent workers left."""
        while not self._stopping.is_set():
            try:
                async with self._pool.transaction() as connection:
                    await reap(connection)
            except AppError as error:
                _log.warning("worker: cannot look for lost jobs: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self.settings.poll_s, self.settings.lease_s / 10)):
                    await self._stopping.wait()


async def reap(connection: Connection) -> int:
    """Give every job whose lease has ended a stated next state; returns how many."""
    lost = await store.lost(connection)
    for claim, cancel_requested in lost:
        reason = f"worker {claim.worker} went silent"
        if cancel_requested:
            await store.cancel_running(connection, claim)
        elif claim.attempt < claim.max_attempts:
            await store.requeue(connection, claim, reason, delay_s=0.0, counts=True)
        else:
            hint = f"this was try {claim.attempt} of {claim.max_attempts}"
            await store.fail(connection, claim, Problem("job.worker_lost", reason, hint=hint))
        _log.warning("job %s: %s", claim.id, reason)
    return len(lost)


class Hold:
    """One job in one slot, from claim to end."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        claim: Claim,
        slot: Slot,
        pool: Pool,
        bell: Bell,
        stopping: asyncio.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._claim = claim
        self._slot = slot
        self._pool = pool
        self._bell = bell
        self._stopping = stopping
        self._clock = clock
        self._latest: Progress | None = None
        self._live: dict[str, object] | None = None
        self._notes: list[Note] = []
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._kept_at = clock()

    async def run(self) -> None:
        """Do the job; whatever happens, it gets a stated end or goes back to the queue."""
        claim = self._claim
        _log.info("job %s (%s) try %d of %d starts", claim.id, claim.kind, claim.attempt,
                  claim.max_attempts)  # fmt: skip
        reader = asyncio.create_task(self._read(), name=f"job {claim.id}")
        keeper = asyncio.create_task(self._keep(), name=f"lease of job {claim.id}")
        stop = asyncio.create_task(self._stopping.wait(), name=f"stop of job {claim.id}")
        try:
            await asyncio.wait({reader, keeper, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._over.set()
            if not reader.done():
                await self._slot.kill()
            await asyncio.gather(reader, keeper, return_exceptions=True)
            await self._end(reader, keeper.result())
        finally:
            for task in (reader, keeper, stop):
                task.cancel()

    async def _read(self) -> Finished | Failed:
        """Follow the child to the end of the job.

        Raises:
            ChildDiedError: it ended before the job did.
        """
        settings = self._settings
        await self._slot.start(
            Order(
                self._claim,
                settings.database_url,
                settings.artifact_store,
                str(settings.home),
                str(settings.builder_key),
                str(settings.master_key or ""),
            )
        )
        async for event in self._slot.events():
            if isinstance(event, Finished | Failed):
                return event
            self._take(event)
        raise ChildDiedError("the process of the job ended without a word")

    def _take(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._latest = event
            self._live = event.live or self._live
        elif isinstance(event, Note):
            self._notes.append(event)
        self._news.set()

    async def _keep(self) -> str:
        """Keep the lease and write the news while the job runs; says why it must stop, if so."""
        while not self._over.is_set():
            verdict = await self._beat()
            if verdict:
                return verdict
            await self._first_of(self._news, timeout_s=self._settings.lease_s / 4)
            await self._first_of(timeout_s=FLUSH_S)  # gathers news: bounds the writes per job
        return ""

    async def _first_of(self, *events: asyncio.Event, timeout_s: float) -> None:
        """Wait for one of these events, the end of the job, a ring of the bell, or a time."""
        waits: set[asyncio.Task[Any]] = {
            asyncio.create_task(event.wait()) for event in (*events, self._over)
        }
        if events:
            waits.add(asyncio.create_task(self._bell.wait(timeout_s)))
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _beat(self) -> str:
        self._news.clear()
        latest, notes, live = self._latest, self._notes, self._live
        self._notes = []
        try:
            async with self._pool.transaction() as connection:
                asked = await store.beat(
                    connection,
                    self._claim,
                    self._settings.lease_s,
                    fraction=latest.fraction if latest else None,
                    step=latest.step if latest else None,
                    live=live,
                )
                if notes and asked is not None:
                    await store.write_log(connection, self._claim, notes)
        except AppError as error:
            self._notes = notes + self._notes
            if self._clock() - self._kept_at > self._settings.lease_s:
                return "lost"
            _log.warning("job %s: cannot renew the lease: %s", self._claim.id, error)
            return ""
        self._kept_at = self._clock()
        if asked is None:
            return "lost"
        return "cancel" if asked else ""

    async def _end(self, reader: asyncio.Task[Finished | Failed], verdict: str) -> None:
        """Write the end, trying again while the lease lasts when the database is away."""
        while True:
            try:
                async with self._pool.transaction() as connection:
                    await self._write_end(connection, reader, verdict)
            except AppError as error:
                if self._clock() - self._kept_at > self._settings.lease_s:
                    _log.warning("job %s: its end could not be written: %s", self._claim.id, error)
                    return
                await asyncio.sleep(min(1.0, self._settings.lease_s / 4))
                continue
            return

    async def _write_end(
        self, connection: Connection, reader: asyncio.Task[Finished | Failed], verdict: str
    ) -> None:
        claim = self._claim
        if verdict == "lost" or not await store.own(connection, claim):
            _log.warning("job %s: another worker has it", claim.id)
            return
        if self._notes:
            await store.write_log(connection, claim, self._notes)
            self._notes = []
        error = reader.exception()
        end = None if error else reader.result()
        if isinstance(end, Finished):
            await store.succeed(connection, claim, end.result)
        elif verdict == "cancel":
            await store.cancel_running(connection, claim)
        elif self._stopping.is_set() and end is None:
            await store.requeue(
                connection, claim, "the worker was stopped", delay_s=0.0, counts=False
            )
        elif isinstance(end, Failed) and not end.retry:
            await store.fail(connection, claim, end.problem)
        else:
            problem = end.problem if isinstance(end, Failed) else Problem("job.died", str(error))
            await self._again(connection, problem)

    async def _again(self, connection: Connection, problem: Problem) -> None:
        claim = self._claim
        if claim.attempt >= claim.max_attempts:
            await store.fail(connection, claim, problem)
            return
        delay_s = RETRY_DELAY_S * 2 ** (claim.attempt - 1)
        await store.requeue(connection, claim, str(problem), delay_s=delay_s, counts=True)
        _log.warning("job %s: try %d ended (%s), again in %.0f s", claim.id, claim.attempt,
                     problem.message, delay_s)  # fmt: skip
