"""Days beyond their policy are archived, proved, signed for, and only then dropped."""

from __future__ import annotations

import time

import asyncpg
import msgspec
import pytest

from compiler.signing import KeyPair, verify
from serving.audit.certificate import certify
from serving.audit.chain import DISPOSAL_TYPE
from serving.audit.export import PROOF_SUFFIX, verify_export
from serving.audit.link import connect_once
from serving.audit.online import verify_online
from serving.audit.record import encode_record
from serving.audit.retention import ArchiveError, dispose_due
from serving.blobs import LocalBlobs
from serving.blobs_s3 import S3Blobs
from serving.files import file_digest
from serving.store import StoreError
from tests.contract.test_artifact_store import call, credentials, s3_server
from tests.spool import drain, fetch

__all__ = ["credentials", "s3_server"]

DAY_NS = 86_400_000_000_000


@pytest.fixture
def ledger_key(tmp_path):
    key = KeyPair.generate()
    key.save(tmp_path / "ledger.key")
    return key


@pytest.fixture
async def old_day(source, settings, ledger_key, tmp_path, database_url):
    """Twelve records of forty days ago and three of today; the class is kept for thirty days."""
    settings = msgspec.structs.replace(settings, ledger_key=tmp_path / "ledger.key")
    writer = source.writer()
    for number in range(15):
        record = source.record()
        if number < 12:
            record.received_ns -= 40 * DAY_NS
            record.decided_ns -= 40 * DAY_NS
            record.id = source.next_id(record.received_ns)
        writer.append(encode_record(record))
        source.acknowledged.append(record.id)
    await fetch(database_url, "SELECT ensure_audit_partitions('default', 1, current_date - 41)")
    await drain(settings)
    await drain(settings)
    await fetch(database_url, "INSERT INTO audit_retention VALUES ('default', 30, 'policy')")
    yield settings
    writer.close()


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return LocalBlobs(tmp_path / "store")
    request.getfixturevalue("credentials")
    server = request.getfixturevalue("s3_server")
    bucket = f"archive{abs(hash(str(tmp_path)))}"
    call(server, "create_bucket", Bucket=bucket)
    return S3Blobs(bucket, "bank", endpoint_url=server, deadline_s=20)


async def dispose(url, store, key):
    return await connect_once(url, "test", lambda c: dispose_due(c, store, key, time.time_ns))


async def test_old_day_is_archived_and_dropped_and_everything_still_adds_up(
    old_day, role_url, database_url, ledger_key, tmp_path, store
):
    done = await dispose(role_url("interlock_shipper"), store, ledger_key)
    with_rows = [each for each in done if each.rows]
    assert [each.rows for each in with_rows] == [12]
    archive = store.fetch(with_rows[0].archive, tmp_path / "out")
    store.fetch(with_rows[0].archive + PROOF_SUFFIX, tmp_path / "out")
    assert file_digest(archive) == with_rows[0].archive_digest
    assert verify_export(archive, {ledger_key.id: ledger_key.public}).findings == []
    rows = await fetch(database_url, "SELECT count(*) FROM audit_records")
    assert rows[0][0] == 3
    noted = await fetch(database_url, "SELECT envelope FROM audit_disposals WHERE rows = 12")
    statement = verify(noted[0][0], {ledger_key.id: ledger_key.public}, DISPOSAL_TYPE)
    assert msgspec.json.decode(statement)["archive_digest"] == with_rows[0].archive_digest
    await drain(old_day)
    report = await connect_once(database_url, "test", lambda c: verify_online(c, {}))
    assert report.findings == []
    assert report.disposed == 1
    certificate = await connect_once(database_url, "test", certify)
    assert certificate.complete
    assert await dispose(database_url, store, ledger_key) == []


async def test_legal_hold_keeps_everything(old_day, database_url, ledger_key, tmp_path):
    await fetch(database_url, "UPDATE audit_retention SET legal_hold = true")
    assert await dispose(database_url, LocalBlobs(tmp_path), ledger_key) == []


async def test_changed_day_is_not_dropped(old_day, database_url, ledger_key, tmp_path):
    await fetch(database_url, "UPDATE audit_records SET decision = 'x' WHERE seq = 3")
    with pytest.raises(ArchiveError, match="changed record"):
        await dispose(database_url, LocalBlobs(tmp_path), ledger_key)
    assert (await fetch(database_url, "SELECT count(*) FROM audit_records"))[0][0] == 15


async def test_emptied_day_is_not_disposed_of(old_day, database_url, ledger_key, tmp_path):
    await fetch(database_url, "DELETE FROM audit_records WHERE seq <= 12")
    with pytest.raises(ArchiveError, match="expected the 12 recorded rows, got 0"):
        await dispose(database_url, LocalBlobs(tmp_path), ledger_key)


async def test_day_that_is_not_due_cannot_be_dropped_by_the_shipper(
    old_day, role_url, database_url
):
    today = await fetch(
        database_url,
        "SELECT tableoid::regclass::text AS name FROM audit_records WHERE seq = 15",
    )
    with pytest.raises(asyncpg.RaiseError, match="not disposable"):
        await fetch(
            role_url("interlock_shipper"),
            "SELECT dispose_audit_partition($1, 3, 'x', 'x', NULL)", today[0]["name"],
        )  # fmt: skip


async def test_store_that_is_away_drops_nothing(old_day, database_url, ledger_key, credentials):
    away = S3Blobs("b", "", endpoint_url="http://127.0.0.1:9", deadline_s=0.2)
    with pytest.raises(StoreError):
        await dispose(database_url, away, ledger_key)
    assert (await fetch(database_url, "SELECT count(*) FROM audit_records"))[0][0] == 15


async def test_store_that_gives_other_bytes_back_drops_nothing(
    old_day, database_url, ledger_key, tmp_path
):
    class Careless(LocalBlobs):
        def put(self, name, file):
            super().put(name, file)
            if name.endswith(".parquet"):
                with (self.root / name).open("ab") as kept:
                    kept.write(b"x")

    with pytest.raises(ArchiveError, match="other bytes"):
        await dispose(database_url, Careless(tmp_path / "careless"), ledger_key)
    assert (await fetch(database_url, "SELECT count(*) FROM audit_records"))[0][0] == 15
