"""Every part of a job has its audit part first, and every row is found by whom it is about."""

from __future__ import annotations

import msgspec
import pytest

from router.bulk.errors import OutputError
from router.bulk.evidence import Evidence
from router.bulk.manifest import decode_manifest
from router.bulk.places import LocalOutput
from router.bulk.watch import pin
from serving.audit.certificate import certify
from serving.audit.link import connect_once
from serving.audit.part_store import read_part
from serving.audit.parts import may_hold, read_summary, rows_of
from serving.audit.segment import SegmentWriter
from serving.blobs import BlobStore
from serving.settings import ShipperSettings
from tests import bulk_world, router_world
from tests.bulk_world import answers, run, write
from tests.spool import drain, fetch

ROWS, UNIT = 180, 50
BAD = 60


@pytest.fixture
def home(tmp_path):
    router_world.publish(tmp_path)
    return tmp_path


@pytest.fixture
def endpoint(home):
    return pin(router_world.settings_for(home), "credit")[0]


@pytest.fixture
def spool(home):
    writer = SegmentWriter(home / "spool", "test", 255, segment_bytes=1 << 16)
    yield writer
    writer.close()


@pytest.fixture
def source(home):
    path = write(home / "in.ndjson", bulk_world.rows(ROWS))
    lines = path.read_bytes().splitlines()
    lines[BAD] = msgspec.json.encode({**bulk_world.rows(ROWS)[BAD], "credit_amount": "many"})
    path.write_bytes(b"\n".join(lines))
    return path


def keeping(spool, endpoint):
    return lambda job: Evidence(spool, job, endpoint, "ann@bank", limit_bytes=1 << 30)


async def shipped(home, database_url):
    settings = ShipperSettings(
        database_url, home / "spool", "test", artifact_store=str(home / "artifacts"),
        linger_ms=1, poll_ms=1,
    )  # fmt: skip
    await drain(settings)


async def test_rows_are_found_by_subject_and_agree_with_the_output(
    home, endpoint, spool, source, database_url, tmp_path
):
    done = run(endpoint, source, home / "out", evidence=keeping(spool, endpoint), unit_rows=UNIT)
    spool.close()
    await shipped(home, database_url)
    records = await fetch(
        database_url, "SELECT part, rows, features, key_id FROM audit_records ORDER BY seq"
    )
    assert [each["rows"] for each in records] == [50, 50, 50, 30]
    lines = decode_manifest((home / "out" / "_manifest.jsonl").read_bytes(), "m").units
    assert [line.evidence for line in lines.values()] == [each["part"] for each in records]
    assert {each["key_id"] for each in records} == {"ann@bank"}
    store = BlobStore.open(home / "artifacts")
    tables = [read_part(store, each["part"], each["rows"], tmp_path / "c") for each in records]
    kept = {row["row"]: row for table in tables for row in rows_of(table)}
    for answer in answers(home / "out"):
        row = kept[answer["row"]]
        assert row["id"].hex() == answer["id"].replace("-", "")
        assert (row["rule"], row["decision"]) == (answer["rule"], answer["decision"])
    assert (kept[BAD]["status"], kept[BAD]["subject_ref"]) == (422, f"ref-s{BAD % 7}")
    assert b"many" in kept[BAD]["features"]
    summaries = [read_summary(bytes(each["features"])) for each in records]
    assert any(may_hold(summary, f"ref-s{BAD % 7}") for summary in summaries)
    events = await fetch(database_url, "SELECT kind, actor, body FROM audit_events ORDER BY seq")
    assert [each["kind"] for each in events] == ["bulk.started", "bulk.finished"]
    said = msgspec.json.decode(events[1]["body"])
    assert (said["job"], said["release"], said["rows"], said["errors"]) == (
        done.job.id, 7, ROWS, 1,
    )  # fmt: skip
    assert (await connect_once(database_url, "test", certify)).complete


async def test_part_that_cannot_become_visible_has_its_evidence_and_is_done_again(
    home, endpoint, spool, source, database_url
):
    class Refusing(LocalOutput):
        kept = 0

        def keep(self, draft, name):
            self.kept += 1
            if self.kept == 2:
                raise OutputError("cannot write a part: no room")
            super().keep(draft, name)

    evidence = keeping(spool, endpoint)
    with pytest.raises(OutputError):
        run(endpoint, source, Refusing(home / "out"), evidence=evidence, unit_rows=UNIT)
    assert len(answers(home / "out")) == UNIT
    assert not list((home / "out" / ".draft").glob("shard*"))
    run(endpoint, source, home / "out", evidence=evidence, unit_rows=UNIT, resume=True)
    spool.close()
    await shipped(home, database_url)
    records = await fetch(database_url, "SELECT part, rows FROM audit_records ORDER BY seq")
    assert [each["rows"] for each in records] == [50, 50, 50, 50, 30]
    assert records[1]["part"] == records[2]["part"]  # the same bytes: the same part, said twice
    events = await fetch(database_url, "SELECT kind FROM audit_events ORDER BY seq")
    assert [each["kind"] for each in events] == [
        "bulk.started", "bulk.stopped", "bulk.resumed", "bulk.finished",
    ]  # fmt: skip
