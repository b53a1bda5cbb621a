"""Acts on the evidence: sensitive values opened and erased, explanations asked for, retention."""

from __future__ import annotations

import base64
import os
from urllib.parse import urlencode

import asyncpg
import msgspec
import pyarrow as pa
import pytest

from router.subject import ensure_subject_key, load_subject_key
from serving.audit.parts import About, keep_part
from serving.audit.seal import MasterKey, NodeSealer
from serving.explain.process import ExplainerProcess
from serving.settings import ExplainerSettings, ShipperSettings
from tests.builders import applicant, signed_package
from tests.integration.control_plane.test_terminal import terminal
from tests.spool import Source, drain, fetch

__all__ = ["terminal"]

PLAIN = b'{"income":52000.50,"purpose":"car"}'


@pytest.fixture
def control_settings(control_settings, tmp_path):
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(os.urandom(32)))
    return msgspec.structs.replace(control_settings, master_key=path)


@pytest.fixture
def hasher(control_settings):
    return load_subject_key(ensure_subject_key(control_settings.home / "secrets" / "subject.key"))


@pytest.fixture
def shipping(control_settings, database_url, tmp_path):
    return ShipperSettings(
        database_url, tmp_path / "spool", "n1", master_key=control_settings.master_key,
        linger_ms=1, poll_ms=1,
    )  # fmt: skip


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path / "spool")


@pytest.fixture
async def records(source, shipping, hasher, control_settings):
    """A record about Anna and one about Bert, shipped; their ids."""
    sealer = NodeSealer(MasterKey.load(control_settings.master_key), "n1")
    writer = source.writer()
    for name in ("anna", "bert"):
        identifier = source.next_id(source.record().received_ns)
        source.append(
            writer, id=identifier, subject_ref=hasher.ref(name), sensitive=("income",),
            features=sealer.seal(PLAIN, ("income",), identifier),
        )  # fmt: skip
    await drain(shipping)
    writer.close()
    rows = await fetch(shipping.database_url, "SELECT id FROM audit_records ORDER BY seq")
    return [str(row["id"]) for row in rows]


async def ids(person, **query):
    page = await person.get("/audit/records?" + urlencode(query))
    return [row["id"] for row in page["items"]]


async def test_revealed_values_are_exact_and_the_reading_is_part_of_the_evidence(staff, records):
    cora = staff["compliance"]
    shown = await cora.get(f"/audit/records/{records[0]}")
    assert "$sealed" in shown["record"]["features"]["income"]
    answer = await cora.call(
        "POST", f"/audit/records/{records[0]}/reveal", {"reason": "complaint 17"}
    )
    assert answer.status == 200, answer.raw
    assert answer.body["features"] == {"income": 52000.5, "purpose": "car"}
    assert answer.body["sealed"] == []
    events = (await cora.get(f"/audit/records/{records[0]}"))["events"]
    assert [(each["kind"], each["actor"]) for each in events] == [("read.decrypted", cora.email)]
    assert events[0]["body"]["reason"] == "complaint 17"


async def test_only_who_may_reveals_and_only_with_a_reason(staff, records):
    path = f"/audit/records/{records[0]}/reveal"
    refused = await staff["manager"].call("POST", path, {"reason": "curious"})
    assert (refused.status, refused.code) == (403, "permission.denied")
    assert (await staff["compliance"].call("POST", path, {"reason": ""})).status == 400
    assert (await staff["compliance"].call("POST", path, {})).status == 400


async def test_erased_person_is_opened_by_nobody_and_the_others_still_are(staff, records):
    cora = staff["compliance"]
    done = await cora.call("POST", "/audit/erasures", {"subject": "anna", "reason": "request 5"})
    assert done.body["keys"] == 1, done.raw
    opened = [
        (await cora.call("POST", f"/audit/records/{each}/reveal", {"reason": "check"})).body
        for each in records
    ]
    assert [each["sealed"] for each in opened] == [["income"], []]
    assert "52000" not in str(opened[0])
    again = await cora.call("POST", "/audit/erasures", {"subject": "anna", "reason": "request 5"})
    assert again.body["keys"] == 0


async def test_legal_hold_goes_before_erasure_and_is_about_its_class_only(staff, records):
    cora = staff["compliance"]
    hold = {"keep_days": 2555, "reason": "case 99", "legal_hold": True}
    wish = {"subject": "anna", "reason": "request 5"}
    assert (await cora.call("PUT", "/audit/retention/default", hold)).status == 200
    refused = await cora.call("POST", "/audit/erasures", wish)
    assert (refused.status, refused.code) == (409, "audit.legal_hold")
    await cora.call("PUT", "/audit/retention/default", {**hold, "legal_hold": False})
    await cora.call("PUT", "/audit/retention/other", hold)
    assert (await cora.call("POST", "/audit/erasures", wish)).status == 201
    page = await cora.get("/audit/retention")
    assert [(each["retention_class"], each["legal_hold"]) for each in page["items"]] == [
        ("default", False),
        ("other", True),
    ]
    refused = await staff["manager"].call("PUT", "/audit/retention/default", hold)
    assert refused.code == "permission.denied"


async def test_decisions_are_found_by_what_came_of_them(staff, records, hasher, database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO audit_events (kind, record_id, actor, body) VALUES"
        " ('outcome', $1, 'k', '{\"label\": \"defaulted\"}'),"
        " ('override', $1, 'k', '{\"decision\": \"approve\"}')",
        records[0],
    )
    await connection.execute(
        "INSERT INTO audit_events (kind, subject_ref, actor, body)"
        " VALUES ('outcome', $1, 'k', '{\"label\": \"repaid\"}')",
        hasher.ref("bert"),
    )
    await connection.close()
    cora = staff["compliance"]
    assert await ids(cora, outcome="defaulted") == [records[0]]
    assert await ids(cora, outcome="repaid") == [records[1]]
    assert await ids(cora, override="approve", decision="approve") == [records[0]]
    assert await ids(cora, outcome="defaulted", override="decline") == []
    assert await ids(cora, key_id="key1") == records[::-1]
    assert await ids(cora, key_id="key2") == []


async def test_any_record_is_explained_when_somebody_asks(
    staff, source, shipping, role_url, tmp_path
):
    package = signed_package(tmp_path / "store")
    writer = source.writer()
    source.append(
        writer, explain=0, package_digest=package.digest,
        features=msgspec.json.encode({k: v for k, v in applicant(3).items() if v is not None}),
    )  # fmt: skip
    await drain(shipping)
    writer.close()
    cora = staff["compliance"]
    (wanted,) = await ids(cora)
    path = f"/audit/records/{wanted}/explain"
    assert (await cora.call("POST", path)).body["state"] == "pending"
    assert (await cora.call("POST", path)).body["state"] == "pending"  # asked twice, made once
    explainer = ExplainerProcess(
        ExplainerSettings(role_url("interlock_explainer"), str(tmp_path / "store"), poll_ms=1)
    )
    assert await explainer.chunk()
    assert not await explainer.chunk()
    explainer.stop()
    await explainer.run()
    found = (await cora.call("POST", path)).body
    assert found["state"] == "ok"
    assert found["reasons"]
    assert found["phi"]


async def test_record_that_is_not_there_is_neither_revealed_nor_explained(staff):
    missing = "00000000-0000-7000-8000-000000000000"
    for act in ("reveal", "explain"):
        answer = await staff["compliance"].call(
            "POST", f"/audit/records/{missing}/{act}", {"reason": "look"}
        )
        assert (answer.status, answer.code) == (404, "record.unknown")


async def test_acts_from_a_terminal(terminal, records):
    line = f"audit reveal {records[0]} --reason complaint"
    assert '"income": 52000.5' in await terminal("compliance", line)
    await terminal("compliance", "audit erase --subject anna --reason wish --yes")
    assert "nobody can open it" in await terminal("compliance", line)
    assert "pending" in await terminal(
        "compliance", f"audit explain {records[1]} --wait 0", exits=1
    )
    set_it = "audit retention set default --keep-days 2555 --reason policy"
    assert "2555" in await terminal("compliance", set_it)
    assert "default" in await terminal("manager", "audit retention list")
    assert "nothing was disposed of" in await terminal("manager", "audit retention disposals")
    assert "no such decisions" in await terminal("manager", "audit query --outcome defaulted")


async def test_rows_of_a_subject_are_read_out_of_columnar_parts(
    staff, terminal, source, shipping, hasher, control_settings
):
    writer = source.writer(segment_bytes=1 << 20)
    at = source.record().received_ns
    for first in (0, 100, 200):
        rows = {
            "row": pa.array(range(first, first + 100), pa.int64()),
            "rule": ["small"] * 100,
            "subject_ref": [hasher.ref(f"s{(first + n) % 150}") for n in range(100)],
            "outputs": [b'{"label":"good"}'] * 100,
        }
        keep_part(writer, pa.table(rows), About("credit", 7, "k", at, at), source.next_id)
    writer.close()
    await drain(msgspec.structs.replace(shipping, artifact_store=control_settings.artifact_store))
    cora = staff["compliance"]
    page = await cora.get("/audit/parts?subject=s7&limit=2")
    again = await cora.get(f"/audit/parts?subject=s7&cursor={page['next']}")
    found = page["items"] + again["items"]
    assert [each["values"]["row"] for each in found] == [7, 157]
    assert found[0]["values"]["outputs"] == {"label": "good"}
    assert again["next"] is None
    assert page["missing"] == []
    assert (await cora.get("/audit/parts?subject=nobody"))["items"] == []
    assert '"row":157' in await terminal("compliance", "audit parts --subject s7")
    refused = await staff["scientist"].call("GET", "/audit/parts?subject=s7")
    assert refused.code == "permission.denied"
