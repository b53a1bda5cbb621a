"""Imports from a PostgreSQL that is really another database, hanging and refusing included."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from control_plane.datasets.sealing import MasterKey, SealError
from control_plane.jobs.schemas import ENDED
from control_plane.jobs.worker import Worker
from control_plane.settings import WorkerSettings

LOANS = {"name": "loans", "task": "classification", "target": "outcome", "source": "core banking",
         "licence": "own data"}  # fmt: skip
TABLE = """
CREATE TABLE loans AS SELECT n AS amount, CASE WHEN n % 4 = 0 THEN NULL ELSE n / 8.0 END AS ratio,
  CASE n % 3 WHEN 0 THEN '' ELSE 'word, ' || n % 3 END AS purpose, date '2024-01-01' + n % 300 AS day,
  timestamptz '2024-01-01 12:00:00+00' + n * interval '1 hour' AS at,
  CASE WHEN n * 7919 % 13 < 5 THEN 'bad' ELSE 'good' END AS outcome
FROM generate_series(1, 200) AS n
"""  # noqa: E501 - one row per line would hide the columns


@pytest.fixture
def master_key(tmp_path):
    path = tmp_path / "master.key"
    path.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
    return path


@pytest.fixture
def control_settings(control_settings, master_key):
    import msgspec

    return msgspec.structs.replace(control_settings, master_key=master_key)


@pytest.fixture
async def source(empty_database_url):
    """Body of a connection to another database that has a table of loans."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(TABLE)
    await connection.close()
    parts = urlsplit(empty_database_url)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    return {"name": "core", "host": host, "database": parts.path[1:], "user": parts.username,
            "password": parts.password, "ssl": "disable", "port": parts.port or 5432}  # fmt: skip


@asynccontextmanager
async def working(control_settings, role_url, master_key):
    settings = WorkerSettings(
        role_url("interlock_worker"), control_settings.artifact_store, control_settings.home,
        control_settings.home / "builder.key", master_key=master_key, poll_s=0.2,
    )  # fmt: skip
    worker = Worker(settings, slots=1)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def dan(staff, source, control_settings, role_url, master_key):
    dan = staff["scientist"]
    await dan.post("/datasets", LOANS)
    await dan.post("/connections", source)
    async with working(control_settings, role_url, master_key):
        yield dan


async def bring(person, query, **options):
    body = {"connection": "core", "query": query} | options
    answer = await person.call("POST", "/datasets/loans/imports", body)
    assert answer.status == 202, answer.raw
    async with asyncio.timeout(30):
        while True:
            job = (await person.get(f"/jobs/{answer.body['job']}"))["job"]
            if job["state"] in ENDED:
                return job
            await asyncio.sleep(0.05)


async def test_query_becomes_a_snapshot_with_its_origin(dan):
    job = await bring(dan, "SELECT * FROM loans -- all of them")
    assert job["state"] == "succeeded", job
    snapshot = await dan.get("/datasets/loans/snapshots/latest")
    types = {name: feature["type"] for name, feature in snapshot["features"].items()}
    assert types == {"amount": "int", "ratio": "float", "purpose": "enum", "day": "date",
                     "at": "timestamp"}  # fmt: skip
    assert snapshot["features"]["ratio"]["nullable"]
    assert snapshot["features"]["purpose"]["values"] == ["", "word, 1", "word, 2"]
    assert snapshot["origin"]["connection"] == "core"
    assert snapshot["origin"]["query"] == "SELECT * FROM loans -- all of them"


BAD_QUERIES = (
    ("SELECT * FROM nothing", "source.query"),
    ("DELETE FROM loans RETURNING *", "source.query"),
    ("SELECT 1) TO PROGRAM 'true' --", "source.query"),
    ("SELECT 1; DROP TABLE loans", "source.query"),
    ("SELECT nextval('no_such')", "source.query"),
    ("SELECT amount, outcome FROM loans LIMIT 3", "data.rows"),
)


async def test_queries_that_do_not_only_read_a_table_are_refused(dan):
    for query, code in BAD_QUERIES:
        job = await bring(dan, query)
        assert (job["state"], job["error"]["code"]) == ("failed", code), query
        assert job["attempts"] == 1
    assert (await dan.get("/datasets/loans/snapshots"))["items"] == []


async def test_source_that_hangs_ends_the_job_in_time_and_leaves_nothing(dan, control_settings):
    job = await bring(dan, "SELECT *, pg_sleep(60) FROM loans", timeout_s=1)
    assert job["state"] == "failed"
    assert job["error"]["code"] in ("source.timeout", "source.unavailable")
    store = Path(control_settings.artifact_store) / "datasets"
    assert [path for path in store.rglob("*") if path.is_file()] == []


WAITS = "SELECT * FROM loans WHERE amount <> 100 OR pg_advisory_lock_shared(7)::text IS NOT NULL"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7"


async def test_rows_that_change_under_the_read_are_those_of_its_beginning(dan, empty_database_url):
    changing = await asyncpg.connect(empty_database_url)
    await changing.execute("SELECT pg_advisory_lock(7)")
    reading = asyncio.create_task(bring(dan, WAITS))
    async with asyncio.timeout(20):
        while not await changing.fetchval(WAITING):
            await asyncio.sleep(0.01)
    await changing.execute("UPDATE loans SET amount = amount + 100000, outcome = 'bad'")
    await changing.execute("DELETE FROM loans WHERE ratio IS NULL")
    await changing.execute("SELECT pg_advisory_unlock(7)")
    job = await reading
    left = await changing.fetchval("SELECT count(*) FROM loans WHERE amount > 100000")
    await changing.close()
    assert job["state"] == "succeeded", job
    snapshot = await dan.get("/datasets/loans/snapshots/latest")
    (amount,) = [each for each in snapshot["profile"] if each["name"] == "amount"]
    assert (left, snapshot["rows"]) == (150, 200)
    assert (amount["minimum"], amount["maximum"]) == (1, 200)


async def test_secret_is_never_shown_nor_stored_in_clear(dan, source, database_url):
    shown = await dan.get("/connections")
    assert [row["name"] for row in shown] == ["core"]
    assert source["password"] not in str(shown)
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT * FROM data_connections")
    log = await connection.fetch("SELECT detail FROM admin_log")
    await connection.close()
    assert source["password"].encode() not in row["secret"]
    assert source["password"] not in str(row["options"]) + str(log)
    assert (await dan.call("DELETE", "/connections/core")).status == 204
    assert await dan.get("/connections") == []


async def test_unknown_connection_and_taken_name_are_told(dan, source):
    body = {"connection": "moon", "query": "SELECT 1"}
    answer = await dan.call("POST", "/datasets/loans/imports", body)
    assert (answer.status, answer.code) == (404, "connection.unknown")
    assert (await dan.call("POST", "/connections", source)).code == "connection.exists"


def test_sealed_secret_opens_only_for_its_name_and_key(tmp_path, master_key):
    key = MasterKey.load(master_key)
    sealed = key.seal("core", "pässword")
    assert key.open("core", sealed) == "pässword"
    for name, text in (("other", sealed), ("core", sealed[:-1] + bytes([sealed[-1] ^ 1]))):
        with pytest.raises(SealError):
            key.open(name, text)
    with pytest.raises(SealError):
        MasterKey(os.urandom(32)).open("core", sealed)
    with pytest.raises(SealError):
        MasterKey.load(None)


async def test_large_upload_is_ingested_by_a_job_and_leaves_no_upload_behind(
    dan, control_settings, monkeypatch
):
    monkeypatch.setattr("control_plane.datasets.service.INLINE_BYTES", 1000)
    rows = [f"{n % 97},{'bad' if n * 7919 % 13 < 5 else 'good'}" for n in range(2000)]
    body = "\n".join(["amount,outcome", *rows]).encode()
    answer = await dan.call("POST", "/datasets/loans/snapshots", body, content_type="text/csv")
    assert answer.status == 202, answer.raw
    async with asyncio.timeout(30):
        while (await dan.get(f"/jobs/{answer.body['job']}"))["job"]["state"] not in ENDED:
            await asyncio.sleep(0.05)
    job = (await dan.get(f"/jobs/{answer.body['job']}"))["job"]
    assert job["state"] == "succeeded", job
    snapshot = await dan.get(f"/datasets/loans/snapshots/{job['result']['snapshot']}")
    assert (snapshot["rows"], snapshot["origin"]["bytes"]) == (2000, len(body))
    bad = await dan.call(
        "POST", "/datasets/loans/snapshots", body + b'"open', content_type="text/csv"
    )
    async with asyncio.timeout(30):
        while (await dan.get(f"/jobs/{bad.body['job']}"))["job"]["state"] not in ENDED:
            await asyncio.sleep(0.05)
    assert (await dan.get(f"/jobs/{bad.body['job']}"))["job"]["state"] == "failed"
    incoming = Path(control_settings.artifact_store) / "datasets" / "incoming"
    assert list(incoming.iterdir()) == []
