"""Evidence taken out of the database proves itself, and every change to it is named."""

from __future__ import annotations

import shutil
from uuid import UUID

import asyncpg
import msgspec
import pytest

from compiler.signing import KeyPair
from serving.audit.export import (
    PROOF_SUFFIX,
    Selection,
    export,
    verify_export,
    write_proof,
)
from serving.audit.formats import SINKS, FormatError, format_of, read_rows
from serving.audit.link import prepare
from tests.spool import drain

FORMATS = ["ndjson", "csv", "parquet"]


@pytest.fixture
def ledger_key(tmp_path):
    key = KeyPair.generate()
    key.save(tmp_path / "ledger.key")
    return key


@pytest.fixture
async def evidence(source, settings, ledger_key, tmp_path):
    settings = msgspec.structs.replace(settings, ledger_key=tmp_path / "ledger.key")
    writer = source.writer()
    for number in range(3):
        source.append(writer, 6, subject_ref=f"k1:{number}", request_id='odd "\\N", text\n')
        source.append(
            writer, 2, features=b'{\n "amount": 1.50}', context=b"{}", unknown=("a", "b"),
            outputs=None, status=422, error='{"detail":"§ é"}'.encode(),
        )  # fmt: skip
        await drain(settings)
    yield source
    writer.close()


async def exported(url, path, selection=None):
    connection = await asyncpg.connect(url)
    await prepare(connection)
    try:
        with path.open("wb") as file:
            sink = SINKS[format_of(path)]("records", file)
            proof = await export(connection, selection or Selection(), sink)
    finally:
        await connection.close()
    write_proof(proof, path)
    return path


def check(path, key):
    return verify_export(path, {key.id: key.public})


def found(report):
    return [(each.what, each.at) for each in report.findings]


@pytest.mark.parametrize("suffix", FORMATS)
async def test_export_verifies_without_the_database(
    evidence, database_url, ledger_key, tmp_path, suffix
):
    path = await exported(database_url, tmp_path / f"all.{suffix}")
    report = check(path, ledger_key)
    assert report.findings == []
    assert (report.rows, report.batches, report.signed) == (24, 3, 3)


@pytest.mark.parametrize("suffix", FORMATS)
async def test_selection_verifies_and_holds_only_what_was_asked(
    evidence, database_url, ledger_key, tmp_path, suffix
):
    wanted = Selection(equal={"subject_ref": "k1:1", "release": 7, "status": 200})
    path = await exported(database_url, tmp_path / f"one.{suffix}", wanted)
    assert len(list(read_rows("records", path))) == 6
    assert check(path, ledger_key).findings == []


async def test_changed_byte_of_an_export_is_named(evidence, database_url, ledger_key, tmp_path):
    path = await exported(database_url, tmp_path / "all.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[9].replace(b'"approve"', b'"approvE"')
    assert changed != lines[9]
    path.write_bytes(b"".join([*lines[:9], changed, *lines[10:]]))
    name = UUID(bytes=evidence.acknowledged[9])
    assert found(check(path, ledger_key)) == [("changed", f"record {name}")]


async def test_missing_added_and_reordered_lines_are_named(
    evidence, database_url, ledger_key, tmp_path
):
    path = await exported(database_url, tmp_path / "all.ndjson")
    lines = path.read_bytes().splitlines(keepends=True)
    names = [f"record {UUID(bytes=each)}" for each in evidence.acknowledged]

    path.write_bytes(b"".join(lines[:4] + lines[5:]))
    assert [what for what, _ in found(check(path, ledger_key))] == ["missing"]

    path.write_bytes(b"".join([*lines[:5], lines[4], *lines[5:]]))
    assert found(check(path, ledger_key)) == [("added", names[4])]

    path.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    assert found(check(path, ledger_key)) == [("reordered", names[2])]

    path.write_bytes(b"".join(lines[8:] + lines[:8]))
    assert {what for what, _ in found(check(path, ledger_key))} == set()  # whole batches, any order

    path.write_bytes(b"".join(lines[8:12] + lines[:8] + lines[12:]))
    assert "reordered" in {what for what, _ in found(check(path, ledger_key))}


async def test_every_byte_of_a_line_matters(evidence, database_url, ledger_key, tmp_path):
    path = await exported(database_url, tmp_path / "one.ndjson", Selection(equal={"status": 422}))
    data = path.read_bytes()
    for position in range(data.index(b"\n")):
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        try:
            noticed = bool(found(check(path, ledger_key)))
        except FormatError:
            noticed = True
        assert noticed, position


async def test_proof_that_was_rewritten_fails_at_the_signed_head(
    evidence, database_url, ledger_key, tmp_path
):
    path = await exported(database_url, tmp_path / "all.ndjson")
    proof_path = path.with_name(path.name + PROOF_SUFFIX)
    proof = msgspec.json.decode(proof_path.read_bytes())
    proof["links"][1]["head"] = proof["links"][0]["head"]
    proof_path.write_bytes(msgspec.json.encode(proof))
    assert {what for what, _ in found(check(path, ledger_key))} >= {"chain", "checkpoint"}


async def test_export_without_its_proof_is_refused(evidence, database_url, ledger_key, tmp_path):
    path = await exported(database_url, tmp_path / "all.ndjson")
    moved = shutil.move(path, tmp_path / "elsewhere.ndjson")
    with pytest.raises(FormatError, match="no proof"):
        check(moved, ledger_key)


async def test_column_that_cannot_be_selected_by_is_refused(database_url, tmp_path):
    with pytest.raises(FormatError, match="features"):
        await exported(database_url, tmp_path / "x.ndjson", Selection(equal={"features": "1"}))
