"""Columnar evidence: from a table of decisions to rows that an examiner finds and can trust."""

from __future__ import annotations

import time

import msgspec
import pyarrow as pa
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from serving.audit import parts
from serving.audit.certificate import certify
from serving.audit.coverage import coverage
from serving.audit.link import connect_once
from serving.audit.online import verify_online
from serving.audit.part_store import blob_name, read_part
from serving.audit.parts import (
    About,
    PartError,
    Summary,
    keep_part,
    local_path,
    may_hold,
    read_summary,
    rows_of,
    subject_filter,
)
from serving.audit.room import SpoolFull
from serving.blobs import BlobStore
from tests.spool import drain, fetch


def decisions(count=1000, first=0):
    words = ["approve", "refer", "decline"]
    return pa.table(
        {
            "row": pa.array(range(first, first + count), pa.int64()),
            "subject_ref": [f"k1:{n % 97}" for n in range(count)],
            "rule": pa.array([f"r{n % 5}" for n in range(count)]).dictionary_encode(),
            "decision": [words[n % 3] for n in range(count)],
            "input.amount": pa.array([n * 1.5 for n in range(count)], pa.float64()),
            "outputs": [b'{"label":"good"}'] * count,
        }
    )


def about(**changes):
    now = time.time_ns()
    return msgspec.structs.replace(About("credit", 7, "key1", now, now + 5_000_000), **changes)


def test_forced_part_is_on_the_disk_before_and_after_it_has_its_name(source, monkeypatch):
    forced = []
    writer = source.writer(segment_bytes=1 << 20)
    monkeypatch.setattr(parts, "sync_file", lambda path: forced.append((path, path.stat().st_size)))
    monkeypatch.setattr(
        parts, "sync_folder", lambda folder: forced.append(sorted(folder.glob("*.arrow")))
    )
    parts.store_part(writer, decisions(10))
    assert forced == []
    summary = parts.store_part(writer, decisions(20), forced=True).summary
    (draft, size), names = forced
    assert (draft.suffix, size) == (parts.DRAFT, summary.bytes)
    assert local_path(writer.folder, summary.part) in names
    writer.close()


@pytest.fixture
def shipping(settings, tmp_path):
    return msgspec.structs.replace(settings, artifact_store=str(tmp_path / "store"))


async def test_part_is_stored_named_by_one_record_and_accounted_for(
    source, shipping, database_url, tmp_path
):
    writer = source.writer(segment_bytes=1 << 20)
    source.append(writer, 3)
    kept = keep_part(writer, decisions(), about(request_id="job-1"), source.next_id)
    assert kept.seq == 4
    covered = await connect_once(
        database_url, "test", lambda c: coverage(c, source.root, shipping.node)
    )
    assert (covered.parts, covered.drained) == (1, False)
    writer.close()
    await drain(shipping)
    (row,) = await fetch(
        database_url, "SELECT id, part, rows, features, outputs FROM audit_records WHERE rows > 1"
    )
    assert row["id"].bytes == kept.id
    assert (row["part"], row["rows"]) == (kept.summary.part, 1000)
    assert msgspec.json.decode(row["outputs"])["decision"] == {
        "approve": 334, "decline": 333, "refer": 333,
    }  # fmt: skip
    assert not local_path(source.root / "n1", kept.summary.part).exists()
    store = BlobStore.open(shipping.artifact_store)
    table = read_part(store, row["part"], row["rows"], tmp_path / "cache")
    assert table.equals(decisions().combine_chunks())
    certificate = await connect_once(database_url, "test", certify)
    assert certificate.complete
    report = await connect_once(database_url, "test", lambda c: verify_online(c, {}))
    assert report.findings == []
    covered = await connect_once(
        database_url, "test", lambda c: coverage(c, source.root, shipping.node)
    )
    assert covered.drained


async def test_rows_of_a_subject_are_found_through_the_filter_in_the_record(
    source, shipping, tmp_path
):
    writer = source.writer(segment_bytes=1 << 20)
    kept = keep_part(writer, decisions(500), about(), source.next_id)
    writer.close()
    await drain(shipping)
    assert may_hold(kept.summary, "k1:13")
    store = BlobStore.open(shipping.artifact_store)
    table = read_part(store, kept.summary.part, 500, tmp_path / "cache")
    found = list(rows_of(table, "k1:13"))
    assert [each["row"] for each in found] == list(range(13, 500, 97))
    assert found[0]["input.amount"] == 19.5


@hypothesis_settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.text(max_size=8), min_size=1, max_size=200))
def test_filter_never_denies_a_subject_that_is_there(subjects):
    table = pa.table({"subject_ref": pa.array(subjects, pa.string())})
    summary = Summary("sha256:x", len(subjects), 1, 0, subject_filter(table))
    assert all(may_hold(summary, each) for each in subjects)


def test_filter_rarely_takes_a_stranger_for_a_subject():
    table = pa.table({"subject_ref": [f"k1:{n}" for n in range(10_000)]})
    summary = Summary("sha256:x", 10_000, 1, 0, subject_filter(table))
    strangers = sum(may_hold(summary, f"k2:{n}") for n in range(10_000))
    assert strangers < 200
    assert not may_hold(Summary("sha256:x", 1, 1), "k1:1")


async def test_changed_part_is_noticed_wherever_it_was_changed(source, shipping, tmp_path):
    writer = source.writer(segment_bytes=1 << 20)
    first = keep_part(writer, decisions(50), about(), source.next_id).summary
    second = keep_part(writer, decisions(50, 50), about(), source.next_id).summary
    writer.close()
    waiting = local_path(source.root / "n1", first.part)
    waiting.write_bytes(waiting.read_bytes()[:-1] + b"x")
    shipper = await drain(shipping)
    assert any(waiting.name in each for each in shipper.status.alarms)
    kept = tmp_path / "store" / blob_name(second.part)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(PartError, match="expected a part"):
        read_part(BlobStore.open(tmp_path / "store"), second.part, 50, tmp_path)


async def test_records_do_not_wait_for_a_store_that_is_away(source, settings, database_url):
    away = msgspec.structs.replace(settings, artifact_store="s3://nowhere/x", drain_s=2)
    writer = source.writer(segment_bytes=1 << 20)
    kept = keep_part(writer, decisions(50), about(), source.next_id)
    writer.close()
    import os
    from unittest.mock import patch

    with patch.dict(os.environ, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        await drain(away)
    rows = await fetch(database_url, "SELECT part FROM audit_records")
    assert [row["part"] for row in rows] == [kept.summary.part]
    assert local_path(source.root / "n1", kept.summary.part).exists()


def test_full_spool_takes_no_part_and_leaves_nothing_behind(source):
    writer = source.writer(segment_bytes=1 << 16, spool_limit_bytes=3 << 16)
    big = decisions(100_000)
    with pytest.raises(SpoolFull):
        keep_part(writer, big, about(), source.next_id)
    left = [path.name for path in (source.root / "n1").iterdir() if ".seg" not in path.name]
    assert [name for name in left if not name.endswith(".new")] == []
    assert writer.last_seq == 0
    writer.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(["row"]), "'row'"),
        (lambda t: t.slice(0, 0), "at least one"),
        (lambda t: t.append_column("hat", t["row"]), "known column"),
        (lambda t: t.set_column(0, "row", t["rule"]), "int64"),
    ],
)
def test_table_that_is_no_evidence_is_refused(source, change, said):
    writer = source.writer()
    with pytest.raises(PartError, match=said):
        keep_part(writer, change(decisions(10)), about(), source.next_id)
    writer.close()


def test_equal_tables_are_one_part(source):
    writer = source.writer(segment_bytes=1 << 20)
    first = keep_part(writer, decisions(100), about(), source.next_id)
    again = keep_part(writer, pa.concat_tables([decisions(100)]), about(), source.next_id)
    assert first.summary.part == again.summary.part
    assert first.id != again.id
    assert read_summary(msgspec.json.encode(first.summary)) == first.summary
    writer.close()
