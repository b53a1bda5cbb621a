"""The shipper on a real PostgreSQL."""

from __future__ import annotations

import itertools

import asyncpg
import msgspec
import pytest

from compiler.signing import KeyPair, verify
from serving.audit import merkle
from serving.audit.chain import CHECKPOINT_TYPE, GENESIS, Batch, next_head
from serving.audit.frame import HEADER_BYTES
from serving.audit.link import prepare
from serving.audit.record import SCHEMA_VERSION, EventRecord, encode_record
from serving.audit.row import RECORD_COLUMNS, leaf_bytes, stored_values
from serving.audit.shipper import Shipper
from tests.spool import drain, fetch, stored_ids


async def test_every_record_becomes_one_row_and_shipped_segments_are_deleted(
    source, settings, database_url
):
    writer = source.writer()
    source.append(writer, 500)
    await drain(settings)
    assert sorted(await stored_ids(database_url)) == sorted(source.acknowledged)
    source.append(writer, 300)
    writer.close()
    await drain(settings)
    await drain(settings)
    assert sorted(await stored_ids(database_url)) == sorted(source.acknowledged)
    assert list((source.root / "n1").glob("*.seg")) == []


async def test_shipper_that_ends_does_not_wait_for_a_database_that_is_gone(
    source, settings, database_url
):
    writer = source.writer()
    source.append(writer, 5)
    writer.close()
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    seconds = itertools.count()
    shipper = await drain(
        msgspec.structs.replace(settings, database_url=nobody, drain_s=1e9),
        monotonic=lambda: float(next(seconds)),
    )
    assert shipper.status.failures >= 1
    await drain(settings)
    assert sorted(await stored_ids(database_url)) == sorted(source.acknowledged)


async def test_lag_under_constant_load_is_that_of_what_waits(source, settings, database_url):
    now = 0.0
    settings = msgspec.structs.replace(settings, batch_rows=4)
    shipper = Shipper(settings, monotonic=lambda: now)
    writer = source.writer()
    lags = []
    for count in (3, 3, 3, 9, 0, 0, 0):
        source.append(writer, count)
        now += 10.0
        await shipper.round(look=True)
        shipper._write_status()
        lags.append(shipper.status.exposure_ms / 1000)
    await shipper._settle_ahead()
    await shipper._link.close()
    shipper._acks.close()
    shipper.spool.close()
    writer.close()
    # nine take three rounds of four, each of which prepares the next
    assert lags == [0.0, 0.0, 0.0, 10.0, 20.0, 10.0, 0.0]


async def test_row_carries_the_record(source, settings, database_url):
    writer = source.writer()
    source.append(writer, request_id="r-1", unknown=("thin",), explain=1, defaults=("term",))
    await drain(settings)
    row = dict((await fetch(database_url, "SELECT * FROM audit_decisions"))[0])
    assert row["id"].bytes == source.acknowledged[0]
    assert row["features"] == '{"amount":2000.0,"purpose":"car"}'
    assert (row["writer"], row["seq"]) == (f"n1/{writer.boot}/0", 1)
    assert (row["unknown"], row["defaults"]) == (["thin"], ["term"])
    assert (row["request_id"], row["model"], row["version"]) == ("r-1", "quick_approval", 3)
    assert int(row["received_at"].timestamp() * 1000) == int.from_bytes(row["id"].bytes[:6])
    wanted = await fetch(database_url, "SELECT batch, wanted FROM audit_unexplained")
    assert [tuple(each) for each in wanted] == [(row["batch"], 1)]
    writer.close()


async def test_torn_and_damaged_frames_are_reported_and_everything_else_arrives(
    source, settings, database_url
):
    writer = source.writer()
    source.append(writer, 50)
    path = next((source.root / "n1").glob("*-00000001.seg"))
    writer.close()
    data = bytearray(path.read_bytes())
    end = data.rindex(writer.last_seq.to_bytes(8, "little"))
    data[HEADER_BYTES + 40] ^= 0xFF
    data[end - 8 :] = bytes(len(data) - end + 8)  # the seal never happened
    data[end - 8 : end] = b"\x01\x02\x03\x04\x05\x06\x07\x08"  # a frame was begun
    path.write_bytes(data)
    await drain(settings)
    assert sorted(await stored_ids(database_url)) == sorted(source.acknowledged[1:])
    events = await fetch(database_url, "SELECT kind, body FROM audit_events ORDER BY kind")
    assert [event["kind"] for event in events] == ["spool.damaged", "spool.torn"]
    ledger = (await fetch(database_url, "SELECT * FROM audit_ledger WHERE segment = 1"))[0]
    assert ledger["damaged_bytes"] > 200
    assert (ledger["torn_bytes"], ledger["closed"]) == (8, True)


async def test_poison_is_set_aside_with_its_reason_and_never_blocks(source, settings, database_url):
    writer = source.writer()
    source.append(writer, 30)
    good = list(source.acknowledged)
    source.append(writer, request_id="nul \0 inside")  # text that Postgres cannot hold
    writer.append(b"\xc1 no record")
    source.append(writer, version=1 << 40)  # beyond the column
    kept = len(source.acknowledged)
    source.append(writer, 30)
    good += source.acknowledged[kept:]
    await drain(settings)
    assert sorted(await stored_ids(database_url)) == sorted(good)
    rows = await fetch(database_url, "SELECT * FROM audit_quarantine ORDER BY seq")
    assert [row["seq"] for row in rows] == [31, 32, 33]
    assert rows[1]["payload"] == b"\xc1 no record"
    assert all(row["reason"] for row in rows)
    ledger = await fetch(
        database_url, "SELECT sum(records + events + quarantined + dropped) FROM audit_ledger"
    )
    assert ledger[0][0] == writer.last_seq
    writer.close()


async def test_events_and_gaps_of_the_spool_are_linked_events(source, settings, database_url):
    writer = source.writer()
    source.append(writer)
    outcome = EventRecord(
        SCHEMA_VERSION, source.next_id(1), 1_790_000_000_000_000_000, "outcome", "credit",
        source.acknowledged[0], "k1:abc", "key1", b'{"label":"bad"}',
    )  # fmt: skip
    writer.append_event(encode_record(outcome))
    writer.drop()
    writer.drop()
    source.append(writer)
    await drain(settings)
    events = await fetch(database_url, "SELECT * FROM audit_events ORDER BY kind")
    assert [event["kind"] for event in events] == ["outcome", "spool.gap"]
    assert events[0]["record_id"].bytes == source.acknowledged[0]
    assert '"records":2' in events[1]["body"]
    ledger = (await fetch(database_url, "SELECT * FROM audit_ledger"))[0]
    assert (ledger["records"], ledger["events"], ledger["dropped"]) == (2, 1, 2)
    assert ledger["last_seq"] == writer.last_seq == 5
    writer.close()


async def test_protected_values_are_kept_apart(source, settings, database_url):
    writer = source.writer()
    source.append(writer, features=b'{"age":31,"amount":2.50}', protected=("age",))
    await drain(settings)
    row = (await fetch(database_url, "SELECT features FROM audit_records"))[0]
    assert row["features"] == b'{"amount":2.50}'
    kept = (await fetch(database_url, "SELECT record_id, attributes FROM audit_protected"))[0]
    assert kept["attributes"] == '{"age": 31}'
    assert kept["record_id"].bytes == source.acknowledged[0]
    writer.close()


async def test_batches_hold_one_class_and_day_and_their_roots_cover_the_rows(
    source, settings, database_url
):
    writer = source.writer()
    day_ns = 86_400_000_000_000
    source.append(writer, 7)
    source.append(writer, 4, retention_class="seven_years")
    late = source.record()
    late.received_ns -= day_ns
    writer.append(encode_record(late))
    await drain(settings)
    connection = await asyncpg.connect(database_url)
    await prepare(connection)
    batches = await connection.fetch("SELECT * FROM audit_batches WHERE kind = 'records'")
    assert sorted(batch["leaves"] for batch in batches) == [1, 4, 7]
    for batch in batches:
        rows = await connection.fetch(
            f"SELECT {', '.join(RECORD_COLUMNS)} FROM audit_records WHERE batch = $1 ORDER BY leaf",
            batch["id"],
        )
        leaves = [merkle.leaf_hash(leaf_bytes(stored_values("records", row))) for row in rows]
        assert merkle.root(leaves) == batch["root"]
    await connection.close()
    writer.close()


async def test_chain_links_every_batch_and_a_checkpoint_signs_its_head(
    source, settings, database_url, tmp_path
):
    key = KeyPair.generate()
    key.save(tmp_path / "ledger.key")
    settings = msgspec.structs.replace(settings, ledger_key=tmp_path / "ledger.key")
    writer = source.writer()
    for _ in range(3):
        source.append(writer, 5)
        await drain(settings)
    await fetch(
        database_url,
        "INSERT INTO audit_events (kind, actor, body) VALUES ('user.created', 'cto', '{}')",
    )
    await drain(settings)
    rows = await fetch(
        database_url,
        "SELECT c.*, b.* FROM audit_chain c JOIN audit_batches b ON b.id = c.batch"
        " ORDER BY position",
    )
    assert [row["kind"] for row in rows] == ["records"] * 3 + ["events"]
    head = GENESIS
    for position, row in enumerate(rows, start=1):
        assert row["previous"] == head
        batch = Batch(
            row["id"], row["kind"], row["retention_class"], row["day"], row["leaves"], row["root"]
        )
        head = next_head(head, position, batch)
        assert row["head"] == head
    signed = await fetch(
        database_url, "SELECT * FROM audit_checkpoints ORDER BY position DESC LIMIT 1"
    )
    statement = verify(signed[0]["envelope"], {key.id: key.public}, CHECKPOINT_TYPE)
    assert head.hex() in statement.decode()
    assert await fetch(database_url, "SELECT FROM audit_unchained") == []
    writer.close()


async def test_shipper_role_ships_and_can_change_nothing(source, settings, role_url, database_url):
    url = role_url("interlock_shipper")
    writer = source.writer()
    source.append(writer, 20)
    shipper = await drain(msgspec.structs.replace(settings, database_url=url))
    assert shipper.status.failures == 0
    assert len(await stored_ids(database_url)) == 20
    for statement in (
        "UPDATE audit_records SET decision = 'approve'",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "UPDATE audit_ledger SET to_off = 0",
        "DELETE FROM audit_ledger",
        "DELETE FROM audit_chain",
        "UPDATE audit_events SET body = '{}'",
        "SELECT attributes FROM audit_protected",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(url, statement)
    writer.close()


async def test_row_of_an_unprepared_day_is_kept_and_moves_home_later(
    source, settings, database_url
):
    writer = source.writer()
    far = source.record()
    far.received_ns += 30 * 86_400_000_000_000
    writer.append(encode_record(far))
    await drain(settings)
    assert (await fetch(database_url, "SELECT audit_stray_rows()"))[0][0] == 1
    await fetch(database_url, "SELECT ensure_audit_partitions('default', 31)")
    assert (await fetch(database_url, "SELECT audit_stray_rows()"))[0][0] == 0
    assert await stored_ids(database_url) == [far.id]
    writer.close()
