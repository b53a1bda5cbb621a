"""The feed from a real PostgreSQL: what is published is served, what does not check out is not."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from router.release.disk import feed_release, read_snapshot
from router.release.spec import Policies, ReleaseBundle
from serving.limits import ModelSettings
from tests import router_world as world
from tests.builders import roster_envelope
from tests.router_process import RouterProcess, Wire, get, request

FEED = """
CREATE TABLE feed_releases (endpoint text PRIMARY KEY, number int, digest text, bundle bytea,
  activation bigint, suspended bool);
CREATE TABLE feed_pinned (LIKE feed_releases);
CREATE TABLE feed_keys (key_id text PRIMARY KEY, key_hash bytea, endpoints text[], actions text[],
  expires_at timestamptz, revoked_at timestamptz);
CREATE TABLE feed_roster (version int, envelope bytea);
CREATE TABLE beats (node text, worker int, loaded jsonb, info jsonb);
CREATE FUNCTION node_heartbeat(node text, worker int, pid int, port int, loaded jsonb, info jsonb)
RETURNS void LANGUAGE sql AS $$ INSERT INTO beats VALUES ($1, $2, $5, $6) $$;
"""
WAIT_S = 15.0


class Database:
    """The feed's tables, written as the control plane's views would show them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def run(self, statement: str, *arguments: Any) -> list[Any]:
        async def work() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                if arguments:
                    return list(await connection.fetch(statement, *arguments))
                await connection.execute(statement)
                return []
            finally:
                await connection.close()

        return asyncio.run(work())

    def rows(self, statement: str) -> list[Any]:
        return self.run(statement + " LIMIT $1", 100)

    def publish(self, bundle: ReleaseBundle, activation: int, *, suspended: bool = False) -> None:
        release = feed_release(bundle)
        self.run(
            "INSERT INTO feed_releases VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (endpoint) "
            "DO UPDATE SET number = excluded.number, digest = excluded.digest, "
            "bundle = excluded.bundle, activation = excluded.activation, "
            "suspended = excluded.suspended",
            release.endpoint,
            release.number,
            release.digest,
            release.bundle,
            activation,
            suspended,
        )
        self.ring()

    def pin(self, bundle: ReleaseBundle, *, suspended: bool = False) -> None:
        release = feed_release(bundle)
        self.run("DELETE FROM feed_pinned WHERE digest = $1", release.digest)
        self.run(
            "INSERT INTO feed_pinned VALUES ($1, $2, $3, $4, $5, $6)",
            release.endpoint,
            release.number,
            release.digest,
            release.bundle,
            release.number,
            suspended,
        )
        self.ring()

    def ring(self) -> None:
        self.run("NOTIFY interlock_feed")

    def key(self, **fields: Any) -> None:
        row = world.routing_key()
        self.run(
            "INSERT INTO feed_keys VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key_id) "
            "DO UPDATE SET expires_at = excluded.expires_at, revoked_at = excluded.revoked_at",
            row.key_id,
            row.key_hash,
            list(row.endpoints),
            list(row.actions),
            fields.get("expires_at"),
            fields.get("revoked_at"),
        )
        self.ring()


@pytest.fixture
def database(empty_database_url: str) -> Database:
    found = Database(empty_database_url)
    found.run(FEED)
    found.run("INSERT INTO feed_roster VALUES ($1, $2)", 1, roster_envelope())
    return found


@pytest.fixture
def start(tmp_path: Path, database: Database) -> Iterator[Callable[..., RouterProcess]]:
    running: list[RouterProcess] = []

    def begin(**fields: Any) -> RouterProcess:
        given = {"database_url": database.url, **fields}
        log = tmp_path / f"log-{len(running)}"
        router = RouterProcess(world.settings_for(tmp_path, **given), log)
        running.append(router)
        return router.wait_ready()

    yield begin
    for each in running:
        each.stop()


def ask(router: RouterProcess) -> tuple[int, dict[str, Any]]:
    with Wire(router.port) as wire:
        answer = wire.send(request(world.body(3), key=world.ROUTING_KEY)).answer()
        return answer.status, answer.json


def until(router: RouterProcess, wanted: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until the answer is the wanted one; the deadline is far beyond the promise."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT_S, deadline.set)
    timer.start()
    try:
        while not deadline.is_set():
            status, found = ask(router)
            if wanted(status, found):
                return found
        raise AssertionError((status, found, router.log.read_text()[-2000:]))
    finally:
        timer.cancel()


def test_published_release_and_key_are_served_and_withdrawn(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path
) -> None:
    router = start()
    assert ask(router)[0] == 401
    database.key()
    until(router, lambda status, found: found.get("code") == "endpoint.unknown")
    store = tmp_path / "artifacts"
    database.publish(world.bundle_of(world.credit(store, number=1)), 1)
    until(router, lambda status, found: status == 200 and found["release"] == 1)
    database.publish(world.bundle_of(world.credit(store, number=2)), 2)
    until(router, lambda status, found: status == 200 and found["release"] == 2)
    database.publish(world.bundle_of(world.credit(store, number=1)), 3)
    until(router, lambda status, found: status == 200 and found["release"] == 1)
    database.publish(world.bundle_of(world.credit(store, number=1)), 4, suspended=True)
    until(router, lambda status, found: found.get("code") == "endpoint.suspended")
    database.key(expires_at=datetime.now(UTC) - timedelta(days=1))
    until(router, lambda status, found: found.get("code") == "key.expired")
    database.key(revoked_at=datetime.now(UTC))
    until(router, lambda status, found: found.get("code") == "key.revoked")


def test_release_that_does_not_check_out_is_named_and_the_last_good_one_stays(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path
) -> None:
    database.key()
    good = world.credit(tmp_path / "artifacts", number=1)
    database.publish(world.bundle_of(good), 1)
    router = start()
    until(router, lambda status, found: status == 200)
    next_one = world.bundle_of(world.credit(tmp_path / "artifacts", number=2))
    unapproved = msgspec.structs.replace(next_one, approvals=())
    database.publish(unapproved, 2)

    def refused() -> list[Any]:
        rows = database.rows("SELECT info FROM beats ORDER BY ctid DESC")
        return [word for row in rows for word in msgspec.json.decode(row["info"])["refused"]]

    until(router, lambda status, found: bool(refused()))
    assert refused()[0]["code"] == "release.approval"
    assert ask(router)[1]["release"] == 1
    assert "refused credit 2: release.approval" in router.log.read_text()
    copy = read_snapshot(tmp_path / "cache" / "router")
    assert copy is not None
    assert [each.number for each in copy.releases] == [1]
    database.publish(next_one, 3)
    until(router, lambda status, found: status == 200 and found["release"] == 2)


def test_memory_of_models_is_bounded_shown_and_what_passes_it_is_named(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path
) -> None:
    database.key()
    database.publish(world.bundle_of(world.credit(tmp_path / "artifacts", number=1)), 1)
    router = start()
    until(router, lambda status, found: status == 200)
    text = get(router.port, "/metrics").decode()
    assert 'interlock_model_memory_bytes{model="quick_approval",version="1"}' in text
    assert f"interlock_model_memory_limit_bytes {4 << 30}" in text
    router.stop()
    small = start(models=ModelSettings(memory_bytes=1 << 16))
    until(small, lambda status, found: found.get("code") == "endpoint.refused")
    metrics = get(small.port, "/metrics").decode()
    assert 'interlock_release_refused{endpoint="credit",code="model.memory"} 1' in metrics
    assert "the limit is 0.1 MiB" in small.log.read_text()
    infos = [msgspec.json.decode(row["info"]) for row in database.rows("SELECT info FROM beats")]
    shown = [info["memory"] for info in infos]
    assert any(memory["models_bytes"] > 0 for memory in shown)
    assert {"models_bytes": 0, "limit_bytes": 1 << 16} in shown


def test_start_without_database_serves_the_local_copy(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path
) -> None:
    database.key()
    database.publish(world.bundle_of(world.credit(tmp_path / "artifacts", number=5)), 1)
    first = start()
    until(first, lambda status, found: status == 200)
    assert first.stop() == 0
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    again = start(database_url=nowhere, redis_url="redis://127.0.0.1:1/0")
    status, found = ask(again)
    assert (status, found["release"]) == (200, 5)


def test_older_releases_come_and_go_with_the_feed(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path
) -> None:
    store, keeps = tmp_path / "artifacts", Policies(pinned_releases=1)
    database.key()
    database.publish(world.bundle_of(world.credit(store, number=2)), 1)
    database.pin(world.bundle_of(world.credit(store, number=1)))
    router = start()

    def readiness(number: int) -> int:
        return int(get(router.port, f"/v2/models/credit/versions/{number}/ready").split()[1])

    until(router, lambda status, found: status == 200)
    assert readiness(1) == 404  # the active release keeps none
    database.publish(world.bundle_of(world.credit(store, number=3, policies=keeps)), 2)
    until(router, lambda _, found: found.get("release") == 3 and readiness(1) == 200)
    database.pin(world.bundle_of(world.credit(store, number=2)))
    until(router, lambda *_: (readiness(1), readiness(2)) == (404, 200))
    database.pin(world.bundle_of(world.credit(store, number=2)), suspended=True)
    until(router, lambda *_: readiness(2) == 503)
    router.stop()
    copy = read_snapshot(tmp_path / "cache" / "router")
    assert copy is not None
    assert [(each.number, each.suspended) for each in copy.pinned] == [(2, True), (1, False)]


def test_redis_rings_the_bell(
    database: Database, start: Callable[..., RouterProcess], tmp_path: Path, redis_url: str
) -> None:
    import redis

    database.key()
    database.publish(world.bundle_of(world.credit(tmp_path / "artifacts", number=1)), 1)
    router = start(redis_url=redis_url, poll_s=3600.0)
    until(router, lambda status, found: status == 200)
    release = feed_release(world.bundle_of(world.credit(tmp_path / "artifacts", number=2)))
    database.run(
        "UPDATE feed_releases SET number = $1, digest = $2, bundle = $3, activation = 2",
        release.number,
        release.digest,
        release.bundle,
    )
    with redis.Redis.from_url(redis_url) as client:

        def rung(_: int, found: dict[str, Any]) -> bool:
            client.publish("interlock:feed", "release")
            return found.get("release") == 2

        until(router, rung)
