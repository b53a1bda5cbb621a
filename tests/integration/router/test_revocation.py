"""Taking a right away: felt on every node within two seconds, whatever else goes on there."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from router.desk import Desk
from router.errors import KeyUnknownError
from router.handlers.fast import FAST_HANDLERS
from router.keys import key_row
from router.metrics.slots import Counters
from router.plane import Plane
from router.release.current import Current, ReleaseLoader
from router.release.disk import Snapshot
from router.release.feed import Feed
from router.release.load import ModelShelf
from router.release.spec import Policies
from router.subject import SubjectHasher
from serving.audit.segment import SegmentWriter
from serving.store import ArtifactStore
from tests import router_world as world
from tests.builders import keys
from tests.integration.router.test_feed import Database, database  # noqa: F401 - a fixture
from tests.router_process import RouterProcess, Wire, request

PROMISE_S = 2.0
NOWHERE = "redis://127.0.0.1:1/0"
OTHER_KEY = "ilk_" + "9z8y7x6w" * 5
NODES = ("north", "south")


def other_key(database: Database) -> None:  # noqa: F811 - the fixture's value
    row = key_row("key-2", OTHER_KEY, ("credit",))
    database.run(
        "INSERT INTO feed_keys VALUES ($1, $2, $3, $4, NULL, NULL)",
        row.key_id,
        row.key_hash,
        list(row.endpoints),
        list(row.actions),
    )


@pytest.fixture
def nodes(
    tmp_path: Path,
    database: Database,  # noqa: F811 - the fixture
) -> Iterator[Callable[[str], list[RouterProcess]]]:
    """Two nodes with homes of their own on one database."""
    running: list[RouterProcess] = []

    def begin(redis_url: str) -> list[RouterProcess]:
        database.key()
        other_key(database)
        for name in NODES:
            home = tmp_path / name
            if not running:
                database.publish(world.bundle_of(world.credit(home / "artifacts")), 1)
            settings = world.settings_for(
                home,
                node=name,
                database_url=database.url,
                redis_url=redis_url,
                artifact_store=str(tmp_path / NODES[0] / "artifacts"),
            )
            running.append(RouterProcess(settings, home / "log"))
        for each in running:
            each.wait_ready()
        return running

    (tmp_path / "south").mkdir()
    (tmp_path / "north").mkdir()
    yield begin
    for each in running:
        each.stop()


class Caller(threading.Thread):
    """Asks one node with the key that is taken away and with another one, until refused."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.begun = threading.Event()
        self.over = threading.Event()
        self.last_good_ns = 0
        self.code = ""
        self.others: set[int] = set()

    def run(self) -> None:
        with Wire(self.port) as wire:
            while not self.over.is_set():
                asked_ns = time.monotonic_ns()
                answer = wire.send(request(world.body(3), key=world.ROUTING_KEY)).answer()
                other = wire.send(request(world.body(3), key=OTHER_KEY)).answer()
                self.others.add(other.status)
                if answer.status != 200:
                    self.code = answer.code
                    return
                self.last_good_ns = asked_ns
                self.begun.set()


def listeners(redis_url: str, count: int) -> None:
    """Wait until that many nodes hear the bell; they connect after they are ready."""
    import redis

    deadline = time.monotonic() + 20
    with redis.Redis.from_url(redis_url) as client:
        while client.pubsub_numsub("interlock:feed")[0][1] < count:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("by", ["redis", "postgres", "clock"])
def test_revoked_key_is_refused_by_both_nodes_within_two_seconds(
    by: str,
    database: Database,  # noqa: F811 - the fixture
    nodes: Callable[[str], list[RouterProcess]],
    redis_url: str,
) -> None:
    """The bell rings in Redis, in PostgreSQL, or nowhere; then only the clock is left."""
    import redis

    routers = nodes(redis_url if by == "redis" else NOWHERE)
    callers = [Caller(each.port) for each in routers]
    for each in callers:
        each.start()
    try:
        assert all(each.begun.wait(20) for each in callers)
        if by == "redis":
            listeners(redis_url, len(routers))
        database.run(
            "UPDATE feed_keys SET revoked_at = $1 WHERE key_id = 'key-1'", datetime.now(UTC)
        )
        done_ns = time.monotonic_ns()
        if by == "redis":
            with redis.Redis.from_url(redis_url) as client:
                client.publish("interlock:feed", "keys")
        elif by == "postgres":
            database.ring()
        for each in callers:
            each.join(20)
    finally:
        for each in callers:
            each.over.set()
            each.join(20)
    assert [each.code for each in callers] == ["key.revoked"] * 2
    assert max(each.last_good_ns for each in callers) - done_ns < PROMISE_S * 1e9
    assert [each.others for each in callers] == [{200}] * 2


class Gate(ReleaseLoader):
    """A loader that takes as long as it is told to."""

    open = threading.Event()
    waiting = threading.Event()

    def apply(self, snapshot: Snapshot, before: Current) -> Current:
        if before.trust is not None:  # at the start it is quick
            self.waiting.set()
            assert self.open.wait(30)
        return super().apply(snapshot, before)


async def test_key_and_endpoint_are_stopped_while_a_release_is_still_being_loaded(
    database: Database,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    store = tmp_path / "artifacts"

    async def publish(number: int, *, suspended: bool = False) -> None:
        bundle = world.bundle_of(world.credit(store, number=number))
        await asyncio.to_thread(database.publish, bundle, number, suspended=suspended)

    await asyncio.to_thread(database.key)
    await publish(1)
    settings = world.settings_for(tmp_path, database_url=database.url)
    spool = SegmentWriter(settings.spool_dir, "test", 0, segment_bytes=1 << 20)
    counters = Counters(settings.metrics_dir, 0)
    desk = Desk("test", 0, spool, counters, SubjectHasher(b"k" * 32))
    plane = Plane(settings, desk, FAST_HANDLERS)
    loader = Gate(keys().root.public, ModelShelf(ArtifactStore.open(str(store))))
    feed = Feed(plane, loader, port=1)
    running = asyncio.create_task(feed.run())

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)

    def revoked() -> bool:
        try:
            plane.current.keys.find(world.ROUTING_KEY.encode())
        except KeyUnknownError:
            return True
        return False

    try:
        await until(lambda: bool(plane.current.endpoints))
        assert not revoked()
        await publish(2)
        await until(loader.waiting.is_set)
        await asyncio.to_thread(database.key, revoked_at=datetime.now(UTC))
        await until(revoked)
        await publish(2, suspended=True)
        await until(lambda: plane.current.endpoints["credit"].suspended)
        assert plane.current.endpoints["credit"].number == 1
        loader.open.set()
        await until(lambda: plane.current.endpoints["credit"].number == 2)
        assert plane.current.endpoints["credit"].suspended
        assert revoked()
    finally:
        loader.open.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        spool.close()
        counters.close()


@pytest.mark.parametrize(("evidence", "stop"), [("records", "endpoint"), ("parts", "key")])
def test_stream_ends_when_its_key_or_endpoint_is_stopped(
    evidence: Any,
    stop: str,
    database: Database,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    database.key()
    content = world.credit(tmp_path / "artifacts", policies=Policies(stream_evidence=evidence))
    database.publish(world.bundle_of(content), 1)
    settings = world.settings_for(tmp_path, database_url=database.url)
    router = RouterProcess(settings, tmp_path / "log").wait_ready()
    lines = b"\n".join(world.body(number) for number in range(500)) + b"\n"
    chunk = b"%x\r\n%b\r\n" % (len(lines), lines)
    over = threading.Event()
    try:
        with Wire(router.port, 30) as wire:
            wire.send(
                request(
                    key=world.ROUTING_KEY,
                    path="/v1/stream/credit",
                    headers=(
                        b"Content-Type: application/x-ndjson",
                        b"Transfer-Encoding: chunked",
                    ),
                    length=False,
                )
            )

            def push() -> None:
                while not over.is_set():
                    try:
                        wire.socket.sendall(chunk)
                    except OSError:
                        return

            sender = threading.Thread(target=push, daemon=True)
            sender.start()
            while b'"row":9000' not in wire.buffer:
                assert wire._more(), wire.buffer[-500:]
            if stop == "key":
                database.key(revoked_at=datetime.now(UTC))
            else:
                database.publish(world.bundle_of(content), 2, suspended=True)
            answer = wire.answer()
            over.set()
            sender.join(30)
    finally:
        over.set()
        router.stop()
    last = json.loads(answer.body.splitlines()[-1])
    codes = {"key": "key.revoked", "endpoint": "endpoint.suspended"}
    assert last["error"]["code"] == codes[stop]
