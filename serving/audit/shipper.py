"""The shipper: one process per node that brings every worker's segments to Postgres exactly once.

It keeps no state of its own. What is shipped is what the ledger says; after anything uncertain
(a deadline, a lost connection, a conflict) it forgets its cursors and reads the ledger again. It
never gives up: while Postgres is away it waits, with a pause that grows to a few seconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import sys
import time
from collections.abc import Callable

import uvloop

from serving.audit.ack import Acks
from serving.audit.batch import Shipment, build
from serving.audit.frame import HEADER_BYTES
from serving.audit.link import TRANSIENT, DeadlineExceeded, Link
from serving.audit.privacy import Privacy, SplitOnly
from serving.audit.seal import MasterKey
from serving.audit.sealing import SubjectSealer
from serving.audit.status import Status, write_status
from serving.audit.store import (
    LedgerConflict,
    blames_a_row,
    find_bad,
    read_cursors,
    write_shipment,
)
from serving.audit.tail import Range, Spool
from serving.audit.upkeep import Upkeep
from serving.settings import ShipperSettings

LOOK_S = 0.2
"""How often the folder is listed for new segments."""
STATUS_S = 1.0
AWAY_S = 3.0
"""A shipper that is told to end waits no longer for a database that is away: the spool is kept."""
FORGET_TICKS = 30
GC_THRESHOLDS = (100_000, 20, 20)
"""Rows hold no cycles: with the usual thresholds a batch sets off dozens of full collections."""
SWITCH_S = 0.0005
"""Rows are built in a thread while others are sent; the sender must not wait 5 ms per piece."""
FIRST_PAUSE_S = 0.05

log = logging.getLogger("interlock.shipper")


class Shipper:
    """Ships until told to stop, then ships what is there.

    Args:
        settings: see there.
        privacy: what is stored of the features.
        clock: wall clock in ns.
        monotonic: clock for pauses, in seconds.
    """

    def __init__(
        self,
        settings: ShipperSettings,
        *,
        privacy: Privacy | None = None,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.status = Status(node=settings.node)
        self.spool = Spool(settings.spool_dir, settings.node)
        self._acks = Acks(self.spool.folder)
        self._privacy = privacy or _privacy(settings)
        self._clock = clock
        self._monotonic = monotonic
        self._link = Link(
            settings.database_url,
            f"interlock shipper {settings.node}",
            deadline_s=settings.deadline_s,
        )
        self._looked = -LOOK_S
        self._covered = monotonic()
        self._stop = asyncio.Event()
        self._alarms: dict[str, str] = {}
        self._more = False
        self._ahead: tuple[float, list[Range], asyncio.Task[Shipment]] | None = None

    def stop(self) -> None:
        """Ship what is there, then end."""
        self._stop.set()

    async def run(self) -> None:
        """Ship until :meth:`stop`; a part that fails ends the whole process."""
        upkeep = Upkeep(self.settings, self.spool, self._acks, self._clock)
        self._alarms = upkeep.alarms
        side = [
            asyncio.create_task(upkeep.run(), name="upkeep"),
            asyncio.create_task(self._report(), name="report"),
        ]
        main = asyncio.create_task(self._ship(), name="ship")
        try:
            done, _ = await asyncio.wait({main, *side}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await main
            await _cancel(*side)  # the last round below uses their connections
            await upkeep.finish()
        finally:
            await _cancel(main, *side)
            await self._settle_ahead()
            await upkeep.close()
            await self._link.close()
            self._write_status()
            self._acks.close()
            self.spool.close()

    async def _ship(self) -> None:
        failures = 0
        drain_until = away_since = float("inf")
        while True:
            stopping = self._stop.is_set()
            if stopping and drain_until == float("inf"):
                drain_until = self._monotonic() + self.settings.drain_s
            try:
                shipped = await self.round(look=stopping)
            except (*TRANSIENT, DeadlineExceeded, LedgerConflict) as error:
                failures += 1
                away_since = min(away_since, self._monotonic())
                await self._recover(error, failures)
                shipped = -1
            else:
                failures = 0
                away_since = float("inf")
            now = self._monotonic()
            if stopping and (shipped == 0 or now > drain_until or now - away_since > AWAY_S):
                return
            await self._pause(shipped, failures)

    async def round(self, *, look: bool = False) -> int:
        """One transaction's worth; returns the frames it covered, 0 when nothing is new.

        Raises:
            DeadlineExceeded: no answer; whether it took effect is not known.
            LedgerConflict: another shipper works on this node's spool.
        """
        if look or self._monotonic() - self._looked >= LOOK_S:
            await self._look()
        taken, ranges, shipment = await self._next()
        if not ranges:
            self._covered = taken
            return 0
        self._more = self._is_full(ranges) or any(each.closed for each in ranges)
        if self._more:
            self._plan_ahead()
        await self._write(ranges, shipment)
        self.spool.commit(ranges)
        if not self._more:
            self._covered = taken  # whatever was there then is in the database now
        frames = 0
        for each in ranges:
            frames += len(each.frames)
            if each.frames:
                self._acks.publish(each.place[0], each.place[1], each.frames[-1].seq)
        self.status.shipped += frames
        self.status.dropped += sum(counts.dropped for counts in shipment.counts)
        return max(frames, 1)

    async def _next(self) -> tuple[float, list[Range], Shipment]:
        """When what the next transaction writes was taken, meanwhile or now, and what it is."""
        if self._ahead is None:
            taken = self._monotonic()
            ranges = self._take()
            return taken, ranges, await self._build(ranges, {})
        (taken, ranges, building), self._ahead = self._ahead, None
        shipment = await building
        if self._privacy.wanted:
            shipment = await self._build(ranges, {})
        return taken, ranges, shipment

    def _take(self) -> list[Range]:
        return self.spool.take(self.settings.batch_rows, self.settings.batch_bytes)

    def _plan_ahead(self) -> None:
        """Decode and hash the next rows in a thread while the database works on these."""
        taken = self._monotonic()
        ranges = self._take()
        if ranges:
            work = asyncio.to_thread(build, ranges, self._privacy, self._clock())
            self._ahead = (taken, ranges, asyncio.create_task(work, name="build"))

    async def _settle_ahead(self) -> None:
        """Wait for a build in the thread; what it made stays planned."""
        if self._ahead is not None:
            await asyncio.gather(self._ahead[2], return_exceptions=True)

    def _is_full(self, ranges: list[Range]) -> bool:
        """Whether a limit of the transaction cut the ranges short."""
        frames = sum(len(each.frames) for each in ranges)
        size = sum(each.to_off - each.from_off for each in ranges)
        return frames >= self.settings.batch_rows or size >= self.settings.batch_bytes

    async def _look(self) -> None:
        unknown = self.spool.look()
        self._looked = self._monotonic()
        node = self.settings.node
        if unknown:
            self.spool.learn(
                await self._link.use(lambda c: read_cursors(c, node, unknown, HEADER_BYTES))
            )
        self._acks.follow(self.spool.streams())

    async def _write(self, ranges: list[Range], shipment: Shipment) -> None:
        node = self.settings.node
        try:
            await self._link.use(lambda c: write_shipment(c, node, shipment, HEADER_BYTES))
        except Exception as error:
            if not blames_a_row(error):
                raise
            first = error
        else:
            self.status.quarantined += len(shipment.poison)
            return
        bad = await self._link.use(lambda c: find_bad(c, shipment))
        if not bad:
            raise first
        log.error("%d records refused by the database go to the quarantine: %s", len(bad), first)
        await self._settle_ahead()
        rest = await self._build(ranges, bad)
        await self._link.use(lambda c: write_shipment(c, node, rest, HEADER_BYTES))
        self.status.quarantined += len(rest.poison)

    async def _build(self, ranges: list[Range], bad: dict[tuple[str, int, int], str]) -> Shipment:
        """Rows of the ranges; once more when keys of sensitive features had to be fetched."""
        shipment = build(ranges, self._privacy, self._clock(), bad)
        if self._privacy.wanted:
            await self._link.use(self._privacy.fetch)
            shipment = build(ranges, self._privacy, self._clock(), bad)
            assert not self._privacy.wanted, "keys of one transaction fit the cache"
        return shipment

    async def _recover(self, error: BaseException, failures: int) -> None:
        """Believe nothing any more; the ledger is read again."""
        await self._settle_ahead()
        self._ahead = None
        self.spool.doubt()
        self._privacy.forget()
        self._link.discard()
        self._looked = -LOOK_S
        self.status.failures += 1
        self.status.last_error = f"{type(error).__name__}: {error}"
        if failures in (1, 10) or failures % 100 == 0:
            log.warning("cannot ship (attempt %d): %s", failures, self.status.last_error)

    async def _pause(self, shipped: int, failures: int) -> None:
        settings = self.settings
        if failures:
            longest = min(settings.backoff_max_s, FIRST_PAUSE_S * 2 ** min(failures, 16))
            await self._sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        elif shipped == 0:
            await self._sleep(settings.poll_ms / 1000)
        elif not self._more:
            until = self._monotonic() + settings.linger_ms / 1000
            while self._monotonic() < until and not self._stop.is_set():
                await self._sleep(min(settings.poll_ms, settings.linger_ms) / 1000)
                if self._acks.wanted():
                    return

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or less when told to stop (then failures still pause, shortly)."""
        if self._stop.is_set():
            await asyncio.sleep(min(seconds, 0.2))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _report(self) -> None:
        while True:
            for _ in range(FORGET_TICKS):
                self._write_status()
                await asyncio.sleep(STATUS_S)
            self._privacy.forget()  # a key may have been destroyed meanwhile

    def _write_status(self) -> None:
        status = self.status
        status.spool_bytes = self.spool.size_bytes()
        status.segments = self.spool.waiting()
        status.alarms = list(self._alarms.values())
        status.exposure_ms = int((self._monotonic() - self._covered) * 1000)
        write_status(self.spool.folder, status, self.settings.spool_limit_bytes, self._clock())


def _privacy(settings: ShipperSettings) -> Privacy:
    if settings.master_key is None:
        return SplitOnly()
    return SubjectSealer(MasterKey.load(settings.master_key), settings.node)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _main(settings: ShipperSettings) -> None:
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    shipper = Shipper(settings)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, shipper.stop)
    log.info("shipping %s", shipper.spool.folder)
    await shipper.run()
    log.info("stopped; %d segments are not fully shipped", shipper.spool.waiting())


def run(settings: ShipperSettings) -> None:
    """Ship this node's spool until SIGTERM; returns when what was there is shipped."""
    uvloop.run(_main(settings))
