"""The feed: what the control plane published, read once a second and whenever somebody rings.

Postgres is asked inside one short read-only transaction with a hard deadline. When it is away, the
worker serves on with what it has; nothing here can stop an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.errors import AppError
from router.keys import KeyRow
from router.metrics.slots import series
from router.plane import Plane
from router.release.current import ReleaseLoader, identity
from router.release.disk import FeedRelease, Snapshot, read_snapshot, save
from router.release.loading import Loading
from router.release.report import Report, changes, differs
from router.release.spec import read_content
from router.release.urgent import urgent
from router.release.verify import read_bundle

if TYPE_CHECKING:
    import asyncpg

_log = logging.getLogger(__name__)

CONNECT_S = 3.0
READ_S = 5.0
BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
NOTIFICATION = "interlock_feed"

RELEASES = "SELECT endpoint, number, digest, activation, suspended FROM feed_releases"
PINNED = (
    "SELECT endpoint, number, digest, activation, suspended FROM feed_pinned "
    "WHERE endpoint = ANY($1) ORDER BY endpoint, number DESC"
)
PINNED_BUNDLE = "SELECT bundle FROM feed_pinned WHERE endpoint = $1 AND digest = $2"
BUNDLE = "SELECT bundle FROM feed_releases WHERE endpoint = $1 AND digest = $2"
KEYS = "SELECT * FROM feed_keys ORDER BY key_id"
ROSTER = "SELECT version, envelope FROM feed_roster"


class Feed:
    """Keeps one worker's state up to date.

    Attributes:
        rung: set when somebody says that the feed changed.
        first: set after the first state was served, from disk or from the feed.
    """

    def __init__(self, plane: Plane, loader: ReleaseLoader, *, port: int) -> None:
        self._plane = plane
        self._loading = Loading(loader)
        self._report = Report(plane, port=port)
        self._connection: asyncpg.Connection[Any] | None = None
        self._failures = 0
        self._wanted: Snapshot | None = None
        self._building: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()
        self._asks: dict[str, bool] = {}
        self.rung = asyncio.Event()
        self.first = asyncio.Event()

    async def from_disk(self) -> bool:
        """Serve the node's own copy, verified; whether there was one."""
        try:
            snapshot = await asyncio.to_thread(read_snapshot, self._plane.settings.cache_dir)
        except AppError as error:
            _log.error("%s", error)
            return False
        if snapshot is None:
            return False
        await self._apply(snapshot)
        return True

    async def take(self, snapshot: Snapshot, *, paced: bool = True) -> None:
        """Serve a snapshot as if the feed had brought it.

        Args:
            snapshot: what to serve.
            paced: after the pause that the last change asks for; without only to measure it.
        """
        if paced:
            await self._loading.calm()
        await self._apply(snapshot)

    async def run(self) -> None:
        """Read, wait for the bell or the clock, read again; ends by cancellation."""
        try:
            while True:
                wait_s = await self._once()
                with contextlib.suppress(TimeoutError):
                    # unlike wait_for of 3.11 it loses no cancellation that comes with the bell
                    async with asyncio.timeout(wait_s):
                        await self.rung.wait()
                self.rung.clear()
        finally:
            if self._building is not None:
                self._building.cancel()
            self._disconnect()

    async def _once(self) -> float:
        """One read; how long to wait before the next."""
        counters = self._plane.desk.counters
        try:
            async with asyncio.timeout(CONNECT_S + READ_S):
                connection = await self._connected()
                snapshot = await self._read(connection)
            if snapshot is not None:
                await self._take_urgent(snapshot)
            self._build_on()
            async with asyncio.timeout(READ_S):
                await self._report.beat(connection)
        except (OSError, TimeoutError, AppError) as error:
            return self._failed(error)
        except Exception as error:  # the driver's own tree; anything else is worth the log, too
            return self._failed(error)
        if self._failures:
            _log.info("the feed answers again")
        self._failures = 0
        counters.add(series("interlock_feed_reads_total", outcome="ok"))
        worker = self._plane.desk.spool.worker
        name = series("interlock_feed_read_time_seconds", worker=worker)
        counters.set(name, int(time.time() * 1e6))
        return self._plane.settings.poll_s

    def _failed(self, error: Exception) -> float:
        self._disconnect()
        self._plane.desk.counters.add(series("interlock_feed_reads_total", outcome="failed"))
        if not self._failures:
            text = " ".join(str(error).split()) or type(error).__name__
            _log.warning("the feed cannot be read (%s); serving what is loaded", text)
        self._failures += 1
        return BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            import asyncpg

            url = self._plane.settings.database_url
            self._connection = await asyncpg.connect(
                url,
                timeout=CONNECT_S,
                server_settings={
                    "application_name": f"interlock router {self._plane.settings.node}",
                    "statement_timeout": str(int(READ_S * 1000)),
                },
            )
            await self._connection.add_listener(NOTIFICATION, self._ring)
        return self._connection

    def _ring(self, *_: object) -> None:
        self.rung.set()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _read(self, connection: Any) -> Snapshot | None:
        """The feed as a snapshot, None when nothing changed."""
        before = self._plane.current
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(RELEASES)
            rows.sort(key=lambda each: str(each["endpoint"]))
            releases = await self._releases(connection, rows, BUNDLE)
            pinned: tuple[FeedRelease, ...] = ()
            if wanted := [each.endpoint for each in releases if self._pins(each)]:
                rows = await connection.fetch(PINNED, wanted)
                pinned = await self._releases(connection, rows, PINNED_BUNDLE)
            keys = tuple(_key_row(row) for row in await connection.fetch(KEYS))
            roster = await connection.fetchrow(ROSTER)
        envelope = _bytes(roster["envelope"]) if roster is not None else b""
        same = (
            self._plane.loaded
            and not before.refusals
            and keys == before.keys.rows
            and envelope == before.snapshot.roster
            and tuple(map(identity, releases)) == tuple(map(identity, before.snapshot.releases))
            and tuple(map(identity, pinned)) == tuple(map(identity, before.snapshot.pinned))
        )
        if same:
            return None
        version = before.trust.version if before.trust else 0
        self._asks = {each.digest: self._pins(each) for each in releases}
        return Snapshot(envelope, releases, keys, version, time.time(), pinned=pinned)

    async def _releases(
        self, connection: Any, rows: list[Any], bundle_of: str
    ) -> tuple[FeedRelease, ...]:
        """Releases of the feed; those that are known already are not sent again."""
        before = self._plane.current.snapshot
        known = {identity(each): each for each in (*before.releases, *before.pinned)}
        if (wanted := self._wanted) is not None:
            known |= {identity(each): each for each in (*wanted.releases, *wanted.pinned)}
        releases = []
        for row in rows:
            named = FeedRelease(
                row["endpoint"],
                row["number"],
                row["digest"],
                b"",
                row["activation"],
                row["suspended"],
            )
            found = known.get(identity(named))
            if found is None:
                bundle = await connection.fetchval(bundle_of, named.endpoint, named.digest)
                found = msgspec.structs.replace(named, bundle=bytes(bundle))
            releases.append(found)
        return tuple(releases)

    def _pins(self, release: FeedRelease) -> bool:
        """Whether an active release asks for older ones; only what to read, so not yet proved."""
        found = self._asks.get(release.digest)
        if found is None:
            try:
                content = read_content(read_bundle(release.bundle).content)
            except (AppError, msgspec.MsgspecError, UnicodeDecodeError):
                return False  # it is refused, with its reason, where it is proved
            found = content.policies.pinned_releases > 0
            self._asks[release.digest] = found
        return found

    async def _take_urgent(self, snapshot: Snapshot) -> None:
        """What stops somebody counts now, however long the releases beside it take to load."""
        plane, self._wanted = self._plane, snapshot
        found = urgent(plane.current, snapshot, plane.current.keys)
        if plane.loaded and found is not plane.current:
            plane.swap(found)
            await self._save()

    def _build_on(self) -> None:
        """Have the wanted releases loaded beside the reading of the feed.

        Raises:
            Exception: what the last loading failed with.
        """
        task = self._building
        if task is not None and task.done():
            self._building = None
            task.result()
        if self._building is None and self._wanted is not None:
            self._building = asyncio.create_task(self._build())

    async def _build(self) -> None:
        while (wanted := self._wanted) is not None:
            await self._loading.calm()
            await self._apply(wanted)
            await self._save()
            if self._wanted is wanted:
                self._wanted = None

    async def _apply(self, snapshot: Snapshot) -> None:
        """Load the releases of a snapshot and serve them, with the newest keys there are."""
        plane = self._plane
        if not snapshot.roster and not snapshot.releases:
            plane.swap(msgspec.structs.replace(plane.current, snapshot=snapshot))
        else:
            at_start = not plane.loaded
            current = await self._loading.apply(snapshot, plane.current, at_start=at_start)
            current = urgent(current, self._wanted or snapshot, plane.current.keys)
            before = plane.current
            plane.swap(current)
            for line in changes(before, current):
                _log.info("%s", line)
            if differs(before, current):
                self._report.due()
                self.rung.set()
        self._report.gauges()
        self.first.set()

    async def _save(self) -> None:
        current = self._plane.current
        if current.trust is None:
            return
        try:
            async with self._saving:
                await asyncio.to_thread(save, self._plane.settings.cache_dir, current.snapshot)
        except OSError as error:
            _log.warning("the local copy could not be written: %s", error)


def _key_row(row: Any) -> KeyRow:
    """A key of the feed; limits are optional columns."""

    def seconds(name: str) -> float | None:
        return None if row[name] is None else row[name].timestamp()

    return KeyRow(
        row["key_id"],
        bytes(row["key_hash"]),
        tuple(row["endpoints"]),
        tuple(row["actions"]),
        seconds("expires_at"),
        seconds("revoked_at"),
        row.get("rate_per_s"),
        row.get("burst"),
        row.get("in_flight"),
    )


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
