"""Verification of the evidence in the database: every kind of tampering is named."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from compiler.signing import KeyPair
from serving.audit.certificate import certify
from serving.audit.link import prepare
from serving.audit.online import verify_online
from tests.spool import drain, fetch


@pytest.fixture
def ledger_key(tmp_path):
    key = KeyPair.generate()
    key.save(tmp_path / "ledger.key")
    return key


@pytest.fixture
async def evidence(source, settings, ledger_key, tmp_path, database_url):
    """Three signed batches of ten records each, and an administrative event."""
    settings = msgspec.structs.replace(settings, ledger_key=tmp_path / "ledger.key")
    writer = source.writer()
    for _ in range(3):
        source.append(writer, 10)
        await drain(settings)
    await fetch(
        database_url,
        "INSERT INTO audit_events (kind, actor, body) VALUES ('user.created', 'cto', '{}')",
    )
    await drain(settings)
    yield source
    writer.close()


async def verified(url, key, **options):
    connection = await asyncpg.connect(url)
    await prepare(connection)
    try:
        return await verify_online(connection, {key.id: key.public}, **options)
    finally:
        await connection.close()


async def certified(url):
    connection = await asyncpg.connect(url)
    try:
        return await certify(connection)
    finally:
        await connection.close()


def found(report):
    return {(each.what, each.at) for each in report.findings}


async def test_untouched_evidence_verifies(evidence, database_url, ledger_key):
    report = await verified(database_url, ledger_key)
    assert report.findings == []
    assert (report.rows, report.batches, report.links) == (31, 4, 4)
    assert (report.signed, report.unsigned, report.pending) == (4, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        "decision = 'decline'",
        'features = convert_to(\'{"amount":2000.1,"purpose":"car"}\', \'UTF8\')',
        "latency_us = latency_us + 1",
        "received_at = received_at + interval '1 microsecond'",
        "subject_ref = NULL",
        "seq = seq + 1000",
    ],
)
async def test_changed_record_is_named(evidence, database_url, ledger_key, change):
    target = (await fetch(database_url, "SELECT id FROM audit_records ORDER BY seq OFFSET 14"))[0]
    await fetch(database_url, f"UPDATE audit_records SET {change} WHERE id = $1", target["id"])
    report = await verified(database_url, ledger_key)
    assert found(report) == {("changed", f"record {target['id']}")}


async def test_missing_record_is_named_by_its_place(evidence, database_url, ledger_key):
    gone = await fetch(
        database_url,
        "DELETE FROM audit_records WHERE seq = 15 RETURNING batch, leaf",
    )
    report = await verified(database_url, ledger_key)
    assert found(report) == {("missing", f"batch {gone[0]['batch']} leaf {gone[0]['leaf']}")}


async def test_added_records_are_named(evidence, database_url, ledger_key):
    columns = [
        row[0]
        for row in await fetch(
            database_url,
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_name = 'audit_records' ORDER BY ordinal_position",
        )
    ]
    for leaf, batch in (("99", "batch"), ("leaf", "batch"), ("leaf", "777")):
        values = ", ".join(
            {"leaf": leaf, "batch": batch, "id": "uuidv7()"}.get(name, name) for name in columns
        )
        await fetch(
            database_url, f"INSERT INTO audit_records SELECT {values} FROM audit_records"
            " WHERE seq = 15 LIMIT 1",
        )  # fmt: skip
    report = await verified(database_url, ledger_key)
    names = {
        f"record {row['id']}"
        for row in await fetch(
            database_url, "SELECT id FROM audit_records WHERE seq = 15 ORDER BY id OFFSET 1"
        )
    }
    assert {at for what, at in found(report) if what == "added"} >= names - {
        at for what, at in found(report) if what == "changed"
    }
    assert len(names) == 3
    assert names <= {at for _, at in found(report)}


async def test_swapped_records_are_named(evidence, database_url, ledger_key):
    await fetch(
        database_url,
        "UPDATE audit_records SET leaf = CASE leaf WHEN 2 THEN 3 ELSE 2 END"
        " WHERE batch = (SELECT max(batch) FROM audit_records) AND leaf IN (2, 3)",
    )
    report = await verified(database_url, ledger_key)
    assert {what for what, _ in found(report)} == {"reordered"}
    assert len(report.findings) == 2


async def test_changed_event_is_named(evidence, database_url, ledger_key):
    row = (await fetch(database_url, "UPDATE audit_events SET actor = 'x' RETURNING id"))[0]
    report = await verified(database_url, ledger_key)
    assert found(report) == {("changed", f"event {row['id']}")}


async def test_batch_rewritten_with_its_hashes_breaks_the_chain(evidence, database_url, ledger_key):
    await fetch(
        database_url,
        "UPDATE audit_batches SET root = sha256('x')"
        " WHERE id = (SELECT min(id) FROM audit_batches)",
    )
    report = await verified(database_url, ledger_key)
    assert {what for what, _ in found(report)} == {"batch", "chain"}


async def test_chain_cut_behind_a_checkpoint_is_named(evidence, database_url, ledger_key):
    await fetch(database_url, "ALTER TABLE audit_checkpoints DROP CONSTRAINT IF EXISTS"
                " audit_checkpoints_position_fkey")  # fmt: skip
    await fetch(database_url, "DELETE FROM audit_chain WHERE position = 4")
    report = await verified(database_url, ledger_key)
    assert ("chain", "position 4") in found(report)


async def test_checkpoint_of_an_unknown_key_is_not_believed(evidence, database_url):
    report = await verified(database_url, KeyPair.generate())
    assert {what for what, _ in found(report)} == {"checkpoint"}
    assert report.signed == 0


async def test_certificate_accounts_for_every_sequence_number(evidence, database_url):
    certificate = await certified(database_url)
    assert certificate.complete
    [line] = certificate.writers
    assert (line.last_seq, line.records, line.rows) == (30, 30, 30)
    assert [day.leaves for day in certificate.days] == [30]


async def test_certificate_names_the_missing_sequence_number(evidence, database_url):
    await fetch(database_url, "DELETE FROM audit_records WHERE seq = 15")
    certificate = await certified(database_url)
    assert not certificate.complete
    assert certificate.writers[0].missing == (15,)
