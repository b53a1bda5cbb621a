"""Sensitive features are sealed in the record, opened by key, and erased with it."""

from __future__ import annotations

import base64
import os

import asyncpg
import msgspec
import pytest

from serving.audit.link import prepare
from serving.audit.online import verify_online
from serving.audit.seal import MasterKey, NodeSealer, SealingError
from serving.audit.sealing import erase, reveal
from tests.spool import drain, fetch, stored_ids

PLAIN = b'{"income":52000.50,"purpose":"car","note":null}'


@pytest.fixture
def sealed_settings(settings, tmp_path):
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(os.urandom(32)))
    return msgspec.structs.replace(settings, master_key=path)


@pytest.fixture
def master(sealed_settings):
    return MasterKey.load(sealed_settings.master_key)


async def stored(url):
    return await fetch(url, "SELECT id, features FROM audit_records ORDER BY seq")


async def revealed(url, master, row):
    connection = await asyncpg.connect(url)
    try:
        return await reveal(
            connection, master, row["id"].bytes, row["features"], actor="examiner", reason="audit"
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("on_node", [True, False])
async def test_sensitive_value_is_stored_sealed_and_opens_under_the_master_key(
    source, sealed_settings, database_url, master, on_node
):
    writer = source.writer()
    identifier = source.next_id(1)
    features = PLAIN
    if on_node:
        features = NodeSealer(master, "n1").seal(PLAIN, ("income", "note"), identifier)
        assert b"52000" not in features
    source.append(writer, id=identifier, features=features, sensitive=("income", "note"))
    shipper = await drain(sealed_settings)
    assert shipper.status.quarantined == 0
    row = (await stored(database_url))[0]
    assert b"52000" not in row["features"]
    assert b'"purpose":"car"' in row["features"]
    assert await revealed(database_url, master, row) == PLAIN
    notes = await fetch(database_url, "SELECT * FROM audit_events WHERE kind = 'read.decrypted'")
    assert (notes[0]["actor"], notes[0]["record_id"].bytes) == ("examiner", row["id"].bytes)
    writer.close()


async def test_destroyed_key_erases_one_subject_and_breaks_no_chain(
    source, sealed_settings, database_url, master
):
    writer = source.writer()
    for subject in ("k1:anna", "k1:bert", "k1:anna", None):
        source.append(writer, subject_ref=subject, features=PLAIN, sensitive=("income",))
    await drain(sealed_settings)
    connection = await asyncpg.connect(database_url)
    assert await erase(connection, "k1:anna", actor="dpo", reason="request 17") == 1
    rows = await stored(database_url)
    opened = [await revealed(database_url, master, row) for row in rows]
    assert [b"52000.50" in each for each in opened] == [False, True, False, True]
    await drain(sealed_settings)
    await prepare(connection)
    report = await verify_online(connection, {})
    assert report.findings == []
    await connection.close()

    source.append(writer, subject_ref="k1:anna", features=PLAIN, sensitive=("income",))
    await drain(sealed_settings)
    later = (await stored(database_url))[4]
    assert b"k1:anna#2" in later["features"]
    assert await revealed(database_url, master, later) == PLAIN
    writer.close()


async def test_legal_hold_goes_before_erasure(source, sealed_settings, database_url):
    await fetch(
        database_url,
        "INSERT INTO audit_retention VALUES ('default', 2555, 'policy', true)",
    )
    writer = source.writer()
    source.append(writer, subject_ref="k1:anna", features=PLAIN, sensitive=("income",))
    await drain(sealed_settings)
    writer.close()
    connection = await asyncpg.connect(database_url)
    with pytest.raises(SealingError, match="legal hold"):
        await erase(connection, "k1:anna", actor="dpo", reason="x")
    assert await erase(connection, "k1:bert", actor="dpo", reason="x") == 0  # nothing is held
    await connection.close()


async def test_sealed_value_cannot_be_moved_to_another_record(
    source, sealed_settings, database_url, master
):
    writer = source.writer()
    for _ in range(2):
        source.append(writer, features=PLAIN, sensitive=("income",))
    await drain(sealed_settings)
    first, second = await stored(database_url)
    with pytest.raises(SealingError):
        await revealed(database_url, master, {"id": first["id"], "features": second["features"]})
    writer.close()


async def test_sensitive_record_without_a_master_key_goes_to_the_quarantine(
    source, settings, database_url
):
    writer = source.writer()
    source.append(writer, features=PLAIN, sensitive=("income",))
    await drain(settings)
    assert await stored_ids(database_url) == []
    assert len(await fetch(database_url, "SELECT FROM audit_quarantine")) == 1
    writer.close()


async def test_shipper_role_may_make_keys(source, sealed_settings, role_url, database_url):
    settings = msgspec.structs.replace(sealed_settings, database_url=role_url("interlock_shipper"))
    writer = source.writer()
    source.append(writer, features=PLAIN, sensitive=("income",))
    await drain(settings)
    assert len(await stored_ids(database_url)) == 1
    writer.close()
