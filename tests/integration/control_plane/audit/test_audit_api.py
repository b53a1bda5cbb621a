"""Questions to the evidence on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import asyncpg
import msgspec
import pytest

from router.subject import ensure_subject_key, load_subject_key
from serving.audit.record import uuid7_source

NOON = datetime.now(UTC).replace(hour=0, minute=0, second=10, microsecond=0)


@pytest.fixture
async def database(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def hasher(control_settings):
    return load_subject_key(ensure_subject_key(control_settings.home / "secrets" / "subject.key"))


_next_id = uuid7_source(0)
_seq = iter(range(1, 1_000_000))


async def record(database, *, second=0.0, **changes):
    """One stored record; answers its id."""
    at = NOON + timedelta(seconds=second)
    row = {
        "id": UUID(bytes=_next_id(int(at.timestamp() * 1e9))),
        "received_at": at,
        "decided_at": at + timedelta(microseconds=90),
        "endpoint": "credit",
        "release": 3,
        "rule": "small_and_safe",
        "unknown": [],
        "model": "quick_approval",
        "version": 1,
        "key_id": "k1",
        "request_id": None,
        "subject_ref": None,
        "decision": "decline",
        "status": 200,
        "durability": "process",
        "retention_class": "default",
        "features": b'{"credit_amount": 1200.50}',
        "defaults": [],
        "outputs": b'{"label":"bad","probability":{"bad":0.7,"good":0.3}}',
        "latency_us": 90,
        "explain": 1,
        "rows": 1,
        "schema_version": 1,
        "writer": "n/b/0",
        "seq": next(_seq),
        "batch": 1,
        "leaf": 0,
    } | changes
    names = ", ".join(row)
    places = ", ".join(f"${n + 1}" for n in range(len(row)))
    await database.execute(f"INSERT INTO audit_records ({names}) VALUES ({places})", *row.values())
    return str(row["id"])


async def ask(person, **query):
    return await person.get("/audit/records?" + urlencode(query))


def ids(page):
    return [row["id"] for row in page["items"]]


async def test_pages_are_newest_first_and_complete(staff, database):
    made = [await record(database, second=n * 0.0004) for n in range(7)]
    cora = staff["compliance"]
    first = await ask(cora, limit=3)
    await record(database, second=5)
    second = await ask(cora, limit=3, cursor=first["next"])
    third = await ask(cora, limit=3, cursor=second["next"])
    assert ids(first) + ids(second) + ids(third) == made[::-1]
    assert third["next"] is None


async def test_filters_all_hold(staff, database):
    wanted = await record(database, decision="decline", model="risk_ensemble", second=2)
    await record(database, decision="approve", model="risk_ensemble", second=2)
    await record(database, decision="decline", model="quick_approval", second=2)
    await record(database, decision="decline", model="risk_ensemble", second=20)
    until = (NOON + timedelta(seconds=10)).isoformat()
    page = await ask(
        staff["compliance"], endpoint="credit", decision="decline", model="risk_ensemble",
        since=NOON.isoformat(), until=until,
    )  # fmt: skip
    assert ids(page) == [wanted]
    assert ids(await ask(staff["compliance"], rule="nothing")) == []


async def test_records_of_a_subject_are_found_by_its_keyed_hash(staff, database, hasher):
    mine = await record(database, subject_ref=hasher.ref("47392"), request_id="r-1")
    await record(database, subject_ref=hasher.ref("47393"))
    assert ids(await ask(staff["compliance"], subject="47392")) == [mine]
    assert ids(await ask(staff["compliance"], request_id="r-1")) == [mine]


async def test_evidence_shows_values_and_says_when_the_explanation_is_pending(staff, database):
    wanted = await record(database)
    body = await staff["compliance"].get(f"/audit/records/{wanted}")
    assert body["record"]["features"] == {"credit_amount": 1200.5}
    assert body["record"]["outputs"]["probability"]["bad"] == 0.7
    assert body["explanation"]["state"] == "pending"
    await database.execute(
        "INSERT INTO audit_explanations (id, received_at, endpoint, package_digest, method, space,"
        " base, phi, reasons, residual, state, created_at, batch, leaf) VALUES ($1, now(),"
        " 'credit', 'sha256:0', 'tree', 'margin', -0.5, $2, $3, 0.0, 'done', now(), 1, 0)",
        UUID(wanted), msgspec.json.encode({"credit_amount": 0.8}).decode(), ["amount is high"],
    )  # fmt: skip
    body = await staff["compliance"].get(f"/audit/records/{wanted}")
    assert body["explanation"]["state"] == "done"
    assert body["explanation"]["phi"] == {"credit_amount": 0.8}
    assert body["explanation"]["reasons"] == ["amount is high"]


async def test_bytes_that_are_no_json_are_still_shown(staff, database):
    wanted = await record(database, features=b"\xff{", outputs=None, error=b'{"status":422}')
    body = await staff["compliance"].get(f"/audit/records/{wanted}")
    assert body["record"]["features"] == {"not_json": "\\xff{"}
    assert body["record"]["error"] == {"status": 422}


async def test_every_question_is_in_the_administrative_log(staff, database, hasher):
    wanted = await record(database, subject_ref=hasher.ref("47392"))
    cora = staff["compliance"]
    await ask(cora, subject="47392")
    await cora.get(f"/audit/records/{wanted}")
    missing = "00000000-0000-7000-8000-000000000000"
    assert (await cora.call("GET", f"/audit/records/{missing}")).code == "record.unknown"
    rows = await database.fetch("SELECT * FROM admin_log WHERE action LIKE 'audit.%' ORDER BY id")
    assert [row["action"] for row in rows] == ["audit.query", "audit.read", "audit.read"]
    assert {row["actor"] for row in rows} == {cora.email}
    assert [row["subject"] for row in rows] == ["", wanted, missing]
    assert "47392" not in rows[0]["detail"].replace(hasher.ref("47392"), "")


async def test_data_scientist_may_not_ask(staff, database):
    answer = await staff["scientist"].call("GET", "/audit/records")
    assert (answer.status, answer.code) == (403, "permission.denied")


async def test_cursor_and_time_range_that_make_no_sense_are_refused(staff):
    cora = staff["compliance"]
    assert (await cora.call("GET", "/audit/records?cursor=zzz")).code == "page.cursor"
    query = urlencode({"since": NOON.isoformat(), "until": NOON.isoformat()})
    assert (await cora.call("GET", f"/audit/records?{query}")).code == "audit.range"


async def test_without_the_subject_key_the_remedy_is_named(staff):
    answer = await staff["compliance"].call("GET", "/audit/records?subject=47392")
    assert answer.code == "subject.key"
    assert "INTERLOCK_SUBJECT_KEY" in answer.body["hint"]
