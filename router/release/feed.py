"""The feed: what the control plane published, read once a second and whenever somebody rings.

Postgres is asked inside one short read-only transaction with a hard deadline. When it is away, the
worker serves on with what it has; nothing here can stop an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.errors import AppError
from router.keys import KeyRow
from router.metrics.slots import series
from router.plane import Plane
from router.release.build import INLINE_COST_US
from router.release.current import Current, ReleaseLoader, identity
from router.release.disk import FeedRelease, Snapshot, read_snapshot, save
from router.release.loading import Loading
from router.release.spec import read_content
from router.release.verify import read_bundle

if TYPE_CHECKING:
    import asyncpg

_log = logging.getLogger(__name__)

CONNECT_S = 3.0
READ_S = 5.0
HEARTBEAT_S = 2.0
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
HEARTBEAT = "SELECT node_heartbeat($1, $2, $3, $4, $5, $6)"


class Feed:
    """Keeps one worker's state up to date.

    Attributes:
        rung: set when somebody says that the feed changed.
        first: set after the first state was served, from disk or from the feed.
    """

    def __init__(self, plane: Plane, loader: ReleaseLoader, *, port: int) -> None:
        self._plane = plane
        self._loading = Loading(loader)
        self._port = port
        self._connection: asyncpg.Connection[Any] | None = None
        self._failures = 0
        self._beat_at = 0.0
        self._started = time.time()
        self._refused: set[str] = set()
        self._models: set[str] = set()
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
                    await asyncio.wait_for(self.rung.wait(), wait_s)
                self.rung.clear()
                await self._loading.calm()
        finally:
            self._disconnect()

    async def _once(self) -> float:
        """One read; how long to wait before the next."""
        counters = self._plane.desk.counters
        try:
            async with asyncio.timeout(CONNECT_S + READ_S):
                connection = await self._connected()
                snapshot = await self._read(connection)
            if snapshot is not None:
                await self._apply(snapshot)
                await self._save()
            async with asyncio.timeout(READ_S):
                await self._beat(connection)
        except (OSError, TimeoutError, AppError) as error:
            return self._failed(error)
        except Exception as error:  # the driver's own tree; anything else is worth the log, too
            return self._failed(error)
        if self._failures:
            _log.info("the feed answers again")
        self._failures = 0
        counters.add(series("interlock_feed_reads_total", outcome="ok"))
        counters.set("interlock_feed_read_time_seconds", int(time.time() * 1e6))
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
        known = {each.digest: each.bundle for each in (*before.releases, *before.pinned)}
        found = []
        for row in rows:
            bundle = known.get(row["digest"])
            if bundle is None:
                raw = await connection.fetchval(bundle_of, row["endpoint"], row["digest"])
                bundle = bytes(raw)
            found.append(
                FeedRelease(
                    row["endpoint"],
                    row["number"],
                    row["digest"],
                    bundle,
                    row["activation"],
                    row["suspended"],
                )
            )
        return tuple(found)

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

    async def _apply(self, snapshot: Snapshot) -> None:
        plane = self._plane
        if not snapshot.roster and not snapshot.releases:
            plane.swap(msgspec.structs.replace(plane.current, snapshot=snapshot))
        else:
            at_start = not plane.loaded
            current = await self._loading.apply(snapshot, plane.current, at_start=at_start)
            changes = _changes(plane.current, current)
            plane.swap(current)
            for change in changes:
                _log.info("%s", change)
        plane.desk.counters.set("interlock_releases_loaded", len(plane.current.endpoints))
        self._show_refusals()
        self._show_memory()
        self.first.set()

    def _show_refusals(self) -> None:
        """A gauge per refused release; those that are over go back to 0."""
        counters = self._plane.desk.counters
        now = {
            series("interlock_release_refused", endpoint=each.what, code=each.code)
            for each in self._plane.current.refusals
        }
        for name in self._refused | now:
            counters.set(name, int(name in now))
        self._refused = now

    def _show_memory(self) -> None:
        """A gauge per loaded model, and the limit for all of them."""
        counters = self._plane.desk.counters
        now = {
            series("interlock_model_memory_bytes", model=each.name, version=each.version): each
            for endpoint in self._plane.current.all_endpoints()
            for each in endpoint.models.values()
        }
        for name in self._models - now.keys():
            counters.set(name, 0)
        for name, model in now.items():
            counters.set(name, model.memory_bytes)
        self._models = set(now)
        limit = self._plane.settings.models.memory_bytes
        counters.set("interlock_model_memory_limit_bytes", limit)

    async def _save(self) -> None:
        current = self._plane.current
        if current.trust is None:
            return
        try:
            await asyncio.to_thread(save, self._plane.settings.cache_dir, current.snapshot)
        except OSError as error:
            _log.warning("the local copy could not be written: %s", error)

    async def _beat(self, connection: Any) -> None:
        """Tell the control plane what this worker serves."""
        now = time.monotonic()
        if now < self._beat_at:
            return
        self._beat_at = now + HEARTBEAT_S
        plane = self._plane
        await connection.execute(
            HEARTBEAT,
            plane.settings.node,
            plane.desk.worker,
            os.getpid(),
            self._port,
            msgspec.json.encode(loaded(plane.current)).decode(),
            msgspec.json.encode(self._info()).decode(),
        )

    def _info(self) -> dict[str, Any]:
        current = self._plane.current
        return {
            "ready": self._plane.ready,
            "draining": self._plane.draining,
            "started_at": self._started,
            "roster": current.trust.version if current.trust else 0,
            "keys": len(current.keys),
            "fastlane": self._plane.settings.fastlane,
            "memory": {
                "models_bytes": sum(
                    {
                        model.digest: model.memory_bytes
                        for endpoint in current.all_endpoints()
                        for model in endpoint.models.values()
                    }.values()
                ),
                "limit_bytes": self._plane.settings.models.memory_bytes,
            },
            "refused": [msgspec.to_builtins(each) for each in current.refusals],
            "spool": {
                "boot": self._plane.desk.spool.boot,
                "last_seq": self._plane.desk.spool.last_seq,
                "dropped": self._plane.desk.spool.dropped,
            },
        }


def loaded(current: Current) -> list[dict[str, Any]]:
    """What a worker serves, for the heartbeat."""
    return [
        {
            "endpoint": endpoint.name,
            "release": endpoint.number,
            "digest": endpoint.digest,
            "suspended": endpoint.suspended,
            "pinned": [
                {"release": each.number, "digest": each.digest, "suspended": each.suspended}
                for each in current.pinned.values()
                if each.name == endpoint.name
            ],
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "package": model.digest,
                    "replay": model.replay,
                    "cost_us": round(model.cost_us, 1),
                    "memory_bytes": model.memory_bytes,
                }
                for model in endpoint.models.values()
            ],
        }
        for endpoint in current.endpoints.values()
    ]


def _changes(before: Current, after: Current) -> list[str]:
    """What became different, one line each."""
    lines = []
    for name, endpoint in after.endpoints.items():
        old = before.endpoints.get(name)
        if old is None or old.number != endpoint.number:
            lines.append(f"serving {name} release {endpoint.number} ({endpoint.digest[:19]})")
        if not endpoint.inline and (old is None or old.number != endpoint.number):
            lines.append(f"{name} has a model that costs more than {INLINE_COST_US:.0f} us a row")
        if endpoint.suspended and not (old and old.suspended):
            lines.append(f"{name} is suspended")
    lines += [
        f"no longer serving {name}" for name in before.endpoints if name not in after.endpoints
    ]
    return lines


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
