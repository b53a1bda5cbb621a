"""The shipper's side work: the chain, partitions ahead, deletion of shipped segments.

Nothing here is needed for shipping to go on, so trouble is reported and tried again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from compiler.errors import AppError
from compiler.signing import KeyPair
from serving.audit.ack import Acks
from serving.audit.frame import HEADER_BYTES
from serving.audit.link import TRANSIENT, Link
from serving.audit.part_store import bring_parts, waiting_parts
from serving.audit.recover import remove_drafts
from serving.audit.retention import dispose_due
from serving.audit.sequencer import sequence, sign_checkpoint
from serving.audit.store import read_cursors
from serving.audit.tail import Place, Spool
from serving.blobs import BlobStore
from serving.settings import ShipperSettings

CLASSES = "SELECT audit_classes()"
ENSURE = "SELECT ensure_audit_partitions($1, $2)"
STRAY = "SELECT audit_stray_rows()"
CLOSE_ONE = "SELECT close_audit_partition()"

SWEEP_S = 2.0
PARTS_S = 1.0
PARTITIONS_S = 60.0
RETENTION_S = 3600.0
DRAFT_S = 60.0
"""Age at which a half-made segment that nobody holds is taken for left behind."""
LONG_S = 600.0
"""Deadline for building the indexes of a day that is over."""

log = logging.getLogger("interlock.shipper")


class Upkeep:
    """Runs each chore at its own pace on connections of its own."""

    def __init__(
        self, settings: ShipperSettings, spool: Spool, acks: Acks, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._acks = acks
        self._clock = clock
        self._key = KeyPair.load(settings.ledger_key) if settings.ledger_key else None
        self._chain = self._link("chain", settings.deadline_s)
        self._tables = self._link("partitions", LONG_S)
        self.alarms: dict[str, str] = {}

    def _link(self, chore: str, deadline_s: float) -> Link:
        settings = self._settings
        name = f"interlock shipper {settings.node} {chore}"
        return Link(settings.database_url, name, deadline_s=deadline_s)

    async def run(self) -> None:
        """All chores until cancelled."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(settings.chain_every_s, self.chain))
            group.create_task(_every(settings.checkpoint_every_s, self.checkpoint))
            group.create_task(_every(PARTITIONS_S, self.partitions))
            group.create_task(_every(SWEEP_S, self.sweep))
            group.create_task(_every(RETENTION_S, self.retention))
            group.create_task(_every(PARTS_S, self.parts))

    async def finish(self) -> None:
        """One last round of what matters after a drain, as far as the database answers."""
        for chore in (self.chain, self.checkpoint, self.parts, self.sweep):
            await _attempt(chore)

    async def close(self) -> None:
        """Close the connections."""
        await self._chain.close()
        await self._tables.close()

    async def chain(self) -> None:
        """Give every batch its place."""
        while await self._chain.use(sequence):
            continue

    async def checkpoint(self) -> None:
        """Sign the head, when this node has the ledger's key."""
        key = self._key
        if key is not None:
            await self._chain.use(lambda c: sign_checkpoint(c, key, self._clock))

    async def partitions(self) -> None:
        """Keep days ahead ready, look for strays, index days that are over."""
        stray = await self._tables.use(self._prepare_days, self._settings.deadline_s)
        if stray:
            self.alarms["stray"] = f"{stray} records are outside every prepared partition"
            log.error("%s", self.alarms["stray"])
        else:
            self.alarms.pop("stray", None)
        await self._tables.use(lambda c: c.fetchval(CLOSE_ONE))

    async def _prepare_days(self, connection: asyncpg.Connection) -> int:
        for row in await connection.fetch(CLASSES):
            await connection.execute(ENSURE, row[0], self._settings.partitions_ahead_days)
        return int(await connection.fetchval(STRAY))

    async def retention(self) -> None:
        """Archive and drop the days that their policy lets go; needs the ledger key."""
        key, store = self._key, self._settings.artifact_store
        if key is None or not store:
            return
        link = self._link("retention", LONG_S)
        try:
            done = await link.use(lambda c: dispose_due(c, BlobStore.open(store), key, self._clock))
        finally:
            await link.close()
        for each in done:
            log.info("disposed of %s: %d rows are in %s", each.partition, each.rows, each.archive)

    async def parts(self) -> None:
        """Bring columnar parts to the artifact store; records do not wait for it."""
        folder, store = self._spool.folder, self._settings.artifact_store
        if not await asyncio.to_thread(waiting_parts, folder):
            return
        if not store:
            self.alarms["parts"] = "columnar parts wait, and there is no artifact store"
            return
        now_s = self._clock() / 1e9
        damaged = await asyncio.to_thread(lambda: bring_parts(folder, BlobStore.open(store), now_s))
        if damaged:
            self.alarms["parts"] = f"columnar parts are damaged: {', '.join(damaged[:5])}"
            log.error("%s", self.alarms["parts"])

    async def sweep(self) -> None:
        """Delete segments that are closed and covered, after asking the ledger once more.

        The question goes over a fresh connection: an answer from the session that wrote could be
        of a transaction that never became durable.
        """
        remove_drafts(self._spool.folder, DRAFT_S, self._clock() / 1e9)
        finished = dict(self._spool.finished())
        if not finished:
            return
        fresh = self._link("sweep", self._settings.deadline_s)
        node = self._settings.node
        places: list[Place] = list(finished)
        try:
            cursors = await fresh.use(lambda c: read_cursors(c, node, places, HEADER_BYTES))
        finally:
            await fresh.close()
        for place in places:
            if cursors[place].closed:
                self._spool.remove(place)
        remaining = self._spool.streams()
        for boot, worker in {place[:2] for place in places} - remaining:
            self._acks.remove(boot, worker)


async def _every(seconds: float, chore: Callable[[], Awaitable[object]]) -> None:
    while True:
        await _attempt(chore)
        await asyncio.sleep(seconds)


async def _attempt(chore: Callable[[], Awaitable[object]]) -> None:
    try:
        await chore()
    except (*TRANSIENT, AppError) as error:
        log.warning("%s: %s: %s", chore.__name__, type(error).__name__, error)
