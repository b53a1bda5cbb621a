"""Durability levels over HTTP: what an answer promises holds; what cannot be promised is said."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from router.release.spec import Policies
from serving.audit.recover import SegmentReader
from serving.settings import ShipperSettings
from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire, request
from tests.spool import fetch, stored_ids

KEY = world.ROUTING_KEY
LEVELS = ("process", "flush", "strict", "shipped")
DISK = """
import os
real, flag = os.fdatasync, os.environ["TEST_DISK_BROKEN"]
def fdatasync(fd):
    if os.path.exists(flag):
        raise OSError(5, "Input/output error")
    real(fd)
os.fdatasync = fdatasync
"""


class Node:
    """A router with an endpoint per level, and the switch that breaks its disk."""

    def __init__(self, home: Path, *, fast: bool) -> None:
        contents = [
            world.credit(
                home / "artifacts",
                endpoint=level,
                policies=Policies(durability=level, timeout_ms=900),
            )
            for level in LEVELS
        ]
        world.publish(home, contents, (world.routing_key(LEVELS),))
        self.broken = home / "broken"
        os.environ["TEST_DISK_BROKEN"] = str(self.broken)
        (home / "site").mkdir()
        (home / "site" / "sitecustomize.py").write_text(DISK)
        self.settings = world.settings_for(home, fastlane=fast)
        self.process = RouterProcess(self.settings, home / "log", (home / "site",)).wait_ready()
        self.port = self.process.port

    def ask(self, level: str, **fields: object) -> Answer:
        with Wire(self.port) as wire:
            return wire.send(self.request(level, **fields)).answer()

    def request(self, level: str, **fields: object) -> bytes:
        return request(world.body(3, **fields), path=f"/v1/predict/{level}", key=KEY)

    def shipper(self, database_url: str) -> ShipperSettings:
        return ShipperSettings(
            database_url, self.settings.spool_dir, "test", linger_ms=1, poll_ms=1,
            backoff_max_s=0.1,
        )  # fmt: skip

    def events(self) -> list[bytes]:
        found = []
        for path in sorted((self.settings.spool_dir / "test").glob("*.seg")):
            with SegmentReader(path) as reader:
                found += [each.payload for each in reader.frames(dead=False) if each.kind == 0xA6]
        return found


@pytest.fixture(scope="module", params=["fast", "slow"])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    found = Node(tmp_path_factory.mktemp("durable"), fast=request.param == "fast")
    yield found
    found.process.stop()


@pytest.mark.parametrize("level", ["process", "flush", "strict"])
def test_answer_names_the_level_it_was_given_with(node: Node, level: str) -> None:
    assert node.ask(level).json["durability"] == level


def test_answers_keep_the_order_of_a_pipeline_whatever_each_waits_for(node: Node) -> None:
    wanted = ["strict", "process", "strict", "flush", "process", "strict"] * 5
    with Wire(node.port) as wire:
        wire.send(b"".join(node.request(each, id=f"{n}") for n, each in enumerate(wanted)))
        answers = [wire.answer() for _ in wanted]
    assert [(each.json["request_id"], each.json["endpoint"]) for each in answers] == [
        (f"{n}", level) for n, level in enumerate(wanted)
    ]


def test_last_request_of_a_connection_closes_it_after_every_answer_before_it(node: Node) -> None:
    last = request(
        world.body(3, id="last"), path="/v1/predict/strict", key=KEY,
        headers=(b"Connection: close",),
    )  # fmt: skip
    with Wire(node.port) as wire:
        wire.send(*[node.request("strict", id=f"{n}") for n in range(4)], last)
        asked = [wire.answer().json["request_id"] for _ in range(5)]
        assert wire.closed()
    assert asked == ["0", "1", "2", "3", "last"]


def test_caller_that_leaves_while_its_answer_is_held_harms_nobody(node: Node) -> None:
    for _ in range(20):
        with Wire(node.port) as wire:
            wire.send(node.request("strict"))
    assert node.ask("strict").status == 200


def test_streamed_rows_of_a_strict_endpoint_wait_too(node: Node) -> None:
    rows = b"".join(world.body(n) + b"\n" for n in range(100))
    sent = request(
        rows, path="/v1/stream/strict", key=KEY, headers=(b"Content-Type: application/x-ndjson",)
    )
    with Wire(node.port) as wire:
        lines = wire.send(sent).answer().body.splitlines()
    assert [msgspec.json.decode(line)["row"] for line in lines] == list(range(100))


def test_disk_that_refuses_withholds_strict_answers_only_and_heals_by_itself(node: Node) -> None:
    node.broken.touch()
    try:
        refused = node.ask("strict")
        assert node.ask("process").status == 200
    finally:
        node.broken.unlink()
    assert (refused.status, refused.code) == (503, "audit.sync_failed")
    assert b"retry-after" in refused.headers
    assert "withheld" in str(refused.json["detail"])
    assert node.ask("strict").status == 200
    assert any(b"answer.withheld" in each for each in node.events())


async def test_shipped_answer_comes_once_postgres_has_its_record(
    node: Node, database_url: str, start_shipper
) -> None:
    withheld = node.ask("shipped")  # nobody ships yet
    assert (withheld.status, withheld.code) == (503, "audit.durability_late")
    assert "database" in str(withheld.json["detail"])
    child = start_shipper(node.shipper(database_url))
    while (answer := node.ask("shipped")).status == 503:  # until the shipper is up
        assert child.poll() is None
    assert answer.json["durability"] == "shipped"
    number = bytes.fromhex(str(answer.json["id"]).replace("-", ""))
    assert number in await stored_ids(database_url)
    child.kill()
    child.wait()
    assert node.ask("shipped").code == "audit.durability_late"
    child = start_shipper(node.shipper(database_url))
    while node.ask("shipped").status == 503:
        assert child.poll() is None
    withheld_events = await fetch(
        database_url, "SELECT body FROM audit_events WHERE kind = 'answer.withheld'"
    )
    assert any('"shipped"' in row["body"] for row in withheld_events)


def test_many_at_once_share_their_syncs(node: Node) -> None:
    answers: list[int] = []

    def ask() -> None:
        with Wire(node.port) as wire:
            for _ in range(20):
                answers.append(wire.send(node.request("strict")).answer().status)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert answers == [200] * 320


def test_gauges_show_what_only_this_node_has(node: Node) -> None:
    node.ask("process")
    with Wire(node.port) as wire:
        text = wire.send(request(method="GET", path="/metrics")).answer().body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert 'interlock_audit_exposed_records{worker="0"}' in values
    assert int(values["interlock_spool_bytes"]) >= 1 << 20
    assert int(values["interlock_spool_segments"]) >= 1
