"""A stream whose release wants columnar evidence: parts are kept before their rows are answered."""

from __future__ import annotations

import msgspec
import pytest

from router.handlers.stream_columns import PART_ROWS
from router.release.spec import Policies
from router.subject import load_subject_key
from serving.audit.certificate import certify
from serving.audit.link import connect_once
from serving.audit.part_store import read_part
from serving.audit.parts import rows_of
from serving.blobs import BlobStore
from serving.settings import ShipperSettings
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request
from tests.spool import drain, fetch

ROWS = PART_ROWS + 500
BAD, SHAPELESS = 7, 11


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    policies = Policies(stream_evidence="parts")
    world.publish(folder, (world.credit(folder / "artifacts", policies=policies),))
    return folder


@pytest.fixture(scope="module")
def answers(home):
    router = RouterProcess(world.settings_for(home), home / "log").wait_ready()
    lines = [world.body(n % 50, subject=f"s{n % 1000}") for n in range(ROWS)]
    lines[BAD] = world.body(0, change={"credit_amount": "many"})
    lines[SHAPELESS] = b"[]"
    sent = request(
        b"\n".join(lines), path="/v1/stream/credit", key=world.ROUTING_KEY,
        headers=(b"Content-Type: application/x-ndjson",),
    )  # fmt: skip
    try:
        with Wire(router.port, 60) as wire:
            found = wire.send(sent).answer().body.splitlines()
    finally:
        router.stop()
    return [msgspec.json.decode(line) for line in found]


async def test_rows_are_answered_in_order_and_found_in_the_parts_that_hold_them(
    home, answers, database_url, tmp_path
):
    assert [each["row"] for each in answers] == list(range(ROWS))
    assert answers[BAD]["error"]["code"] == "features.type"
    assert answers[SHAPELESS]["error"]["status"] == 400
    settings = ShipperSettings(
        database_url, home / "spool", "test", artifact_store=str(home / "artifacts"),
        linger_ms=1, poll_ms=1,
    )  # fmt: skip
    await drain(settings)
    records = await fetch(database_url, "SELECT part, rows FROM audit_records ORDER BY seq")
    assert sum(each["rows"] for each in records) == ROWS - 1  # what is no row leaves no evidence
    assert 2 <= len(records) <= 3
    store = BlobStore.open(home / "artifacts")
    tables = [read_part(store, each["part"], each["rows"], tmp_path) for each in records]
    kept = {row["row"]: row for table in tables for row in rows_of(table)}
    assert sorted(kept) == [n for n in range(ROWS) if n != SHAPELESS]
    for number in (0, 1000, ROWS - 1):
        answer, row = answers[number], kept[number]
        assert row["id"].hex() == answer["id"].replace("-", "")
        assert (row["rule"], row["model"], row["decision"], row["status"]) == (
            answer["rule"], answer["model"], answer["decision"], 200,
        )  # fmt: skip
        assert msgspec.json.decode(row["outputs"]) == answer["outputs"]
        expected = world.row(number % 50)
        assert {name: row["input." + name] for name in expected} == expected
    assert kept[BAD]["status"] == 422
    hasher = load_subject_key(home / "secrets" / "subject.key")
    mine = [row["row"] for table in tables for row in rows_of(table, hasher.ref("s17"))]
    assert mine == [n for n in range(ROWS) if n % 1000 == 17]
    assert (await connect_once(database_url, "test", certify)).complete
