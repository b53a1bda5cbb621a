"""``interlock audit`` from a terminal, on a real database."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
import pytest
from click.testing import CliRunner

from compiler.signing import KeyPair, b64, verify
from interlock.commands.audit import audit
from serving.audit.chain import CERTIFICATE_TYPE
from serving.audit.inclusion import NoRecord, holds, prove
from serving.audit.link import connect_once
from tests.spool import drain, fetch


@pytest.fixture
def ledger_key(tmp_path):
    key = KeyPair.generate()
    key.save(tmp_path / "ledger.key")
    return key


@pytest.fixture
async def evidence(source, settings, ledger_key, tmp_path):
    settings = msgspec.structs.replace(settings, ledger_key=tmp_path / "ledger.key")
    writer = source.writer()
    for _ in range(2):
        source.append(writer, 20)
        await drain(settings)
    yield source
    writer.close()


@pytest.fixture
def interlock(role_url, tmp_path):
    """Runs ``interlock audit ...`` as an auditor would."""
    url = role_url("interlock_auditor")
    env = {
        "DATABASE_URL": url,
        "INTERLOCK_HOME": str(tmp_path / "home"),
        "INTERLOCK_LEDGER_KEY": str(tmp_path / "ledger.key"),
    }

    async def run(*words):
        return await asyncio.to_thread(CliRunner(env=env).invoke, audit, list(map(str, words)))

    return run


async def test_verify_of_untouched_evidence_exits_with_zero(evidence, interlock, ledger_key):
    answer = await interlock("verify", "--key", b64(ledger_key.public))
    assert answer.exit_code == 0, answer.output
    assert "intact: 40 rows in 2 batches, 2 links, signed to position 2" in answer.stdout


async def test_changed_byte_is_named_and_exits_with_one(
    evidence, interlock, ledger_key, database_url
):
    row = (
        await fetch(
            database_url,
            "UPDATE audit_records SET outputs = set_byte(outputs, 3, 65) WHERE seq = 25"
            " RETURNING id",
        )
    )[0]
    answer = await interlock("verify", "--key", b64(ledger_key.public), "--json")
    assert answer.exit_code == 1
    found = msgspec.json.decode(answer.stdout)["findings"]
    assert [(each["what"], each["at"]) for each in found] == [("changed", f"record {row['id']}")]


async def test_export_verifies_as_a_file_alone(evidence, interlock, ledger_key, tmp_path):
    out = tmp_path / "evidence.ndjson"
    assert (await interlock("export", "--out", out, "--endpoint", "credit")).exit_code == 0
    assert len(out.read_bytes().splitlines()) == 40
    answer = await interlock("verify", out, "--key", b64(ledger_key.public))
    assert answer.exit_code == 0, answer.output
    out.write_bytes(out.read_bytes().replace(b'"approve"', b'"decline"', 1))
    answer = await interlock("verify", out, "--key", b64(ledger_key.public))
    assert answer.exit_code == 1
    assert f"changed: record {UUID(bytes=evidence.acknowledged[0])}" in answer.stdout


async def test_certificate_is_complete_and_signed(evidence, interlock, ledger_key, tmp_path):
    out = tmp_path / "certificate.json"
    answer = await interlock("certificate", "--out", out)
    assert answer.exit_code == 0, answer.output
    assert "complete: 40 records of 1 writers (0 more recorded nothing)" in answer.stdout
    payload = verify(out.read_bytes(), {ledger_key.id: ledger_key.public}, CERTIFICATE_TYPE)
    assert msgspec.json.decode(payload)["complete"] is True


async def test_certificate_with_a_gap_exits_with_one(evidence, interlock, database_url):
    await fetch(database_url, "DELETE FROM audit_records WHERE seq = 7")
    answer = await interlock("certificate")
    assert answer.exit_code == 1
    assert "INCOMPLETE, missing [7]" in answer.stdout


async def test_unreachable_database_is_one_message_without_a_traceback(interlock, tmp_path):
    env = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "INTERLOCK_HOME": str(tmp_path)}
    answer = await asyncio.to_thread(CliRunner(env=env).invoke, audit, ["certificate"])
    assert answer.exit_code == 1
    assert "DATABASE_URL" in answer.output


async def test_inclusion_proof_leads_to_the_signed_head(evidence, ledger_key, database_url):
    keys = {ledger_key.id: ledger_key.public}
    record = UUID(bytes=evidence.acknowledged[3])
    proof = await connect_once(database_url, "test", lambda c: prove(c, record))
    assert holds(proof, keys) == "signed"
    assert holds(proof, {}) == "chained"
    assert len(proof.path) == 5
    moved = msgspec.structs.replace(proof, leaf=4)
    assert holds(moved, keys) == "broken"
    other = msgspec.structs.replace(proof, leaf_hash=bytes(32))
    assert holds(other, keys) == "broken"
    with pytest.raises(NoRecord):
        await connect_once(database_url, "test", lambda c: prove(c, UUID(int=1)))
