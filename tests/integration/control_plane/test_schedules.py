"""Recurring jobs: queued once when due, in their owner's name, never when he may not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control_plane.db.pool import Pool
from control_plane.schedules.service import queue_due
from control_plane.settings import PoolSettings

START = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)
LOANS = {"name": "loans", "task": "classification", "target": "outcome", "source": "core",
         "licence": "own data"}  # fmt: skip
CORE = {"name": "core", "host": "localhost", "database": "x", "user": "x", "password": "x",
        "ssl": "disable", "port": 5432}  # fmt: skip
NIGHTLY = {
    "name": "nightly", "kind": "import", "target": "loans", "every_s": 86_400,
    "start": START.isoformat(), "request": {"connection": "core", "query": "SELECT 1 AS outcome"},
}  # fmt: skip


@pytest.fixture
def control_settings(control_settings: Any, tmp_path: Any) -> Any:
    import base64
    import os

    import msgspec

    key = tmp_path / "schedules.key"
    key.write_bytes(base64.b64encode(os.urandom(32)))
    return msgspec.structs.replace(control_settings, master_key=key)


@pytest.fixture
async def dan(staff: Any, house: Any) -> Any:
    """A data scientist with a dataset, a source, and nobody else who queues."""
    dan = staff["scientist"]
    await dan.post("/datasets", LOANS)
    await dan.post("/connections", CORE)
    return dan


@pytest.fixture
async def pool(role_url: Any) -> Any:
    async with Pool(PoolSettings(role_url("interlock_control"))) as pool:
        yield pool


async def jobs(person: Any) -> list[dict[str, Any]]:
    return (await person.get("/jobs?kind=import"))["items"]


async def test_a_run_is_queued_once_by_however_many_control_planes(dan: Any, pool: Any) -> None:
    far = datetime.now(UTC) + timedelta(days=300)
    made = await dan.post("/schedules", {**NIGHTLY, "start": far.isoformat()})
    assert (made["name"], made["paused"], made["last_job"]) == ("nightly", False, None)
    at = far + timedelta(seconds=1)
    await asyncio.gather(*(queue_due(pool, at) for _ in range(4)))
    found = await jobs(dan)
    assert [job["created_by"] for job in found] == [dan.email]
    schedule = await dan.get("/schedules/nightly")
    assert schedule["last_job"] == found[0]["id"]
    assert datetime.fromisoformat(schedule["next_at"]) == far + timedelta(days=1)


async def test_missed_runs_are_one_run_and_the_beat_is_kept(dan: Any, pool: Any) -> None:
    far = datetime.now(UTC) + timedelta(days=200)
    await dan.post("/schedules", {**NIGHTLY, "start": far.isoformat()})
    await queue_due(pool, far + timedelta(days=3, hours=5))
    assert len(await jobs(dan)) == 1
    schedule = await dan.get("/schedules/nightly")
    assert datetime.fromisoformat(schedule["next_at"]) == far + timedelta(days=4)
    assert await queue_due(pool, far + timedelta(days=3, hours=6)) == 0


async def test_a_paused_schedule_waits_and_a_deleted_one_is_gone(dan: Any, pool: Any) -> None:
    far = datetime.now(UTC) + timedelta(days=200)
    await dan.post("/schedules", {**NIGHTLY, "start": far.isoformat()})
    assert (await dan.post("/schedules/nightly/pause"))["paused"]
    assert await queue_due(pool, far + timedelta(days=9)) == 0
    assert not (await dan.post("/schedules/nightly/resume"))["paused"]
    assert await queue_due(pool, far + timedelta(days=9)) == 1
    await dan.call("DELETE", "/schedules/nightly")
    assert (await dan.get("/schedules"))["items"] == []
    assert await dan.refused("GET", "/schedules/nightly") == (404, "schedule.unknown")


async def test_who_is_locked_out_has_no_running_schedules(dan: Any, pool: Any, house: Any) -> None:
    far = datetime.now(UTC) + timedelta(days=200)
    await dan.post("/schedules", {**NIGHTLY, "start": far.isoformat()})
    admin = house.people["admin@bank.example"]
    changed = await admin.call("PATCH", f"/users/{dan.email}", {"disabled": True})
    assert changed.status == 200, changed.raw
    await queue_due(pool, far)
    row = await admin.get("/schedules/nightly")
    assert row["last_job"] is None
    assert row["last_error"].startswith("schedule.person: ")
    assert await jobs(admin) == []


async def test_a_run_that_cannot_be_queued_says_why_and_the_next_one_is_tried(
    dan: Any, pool: Any
) -> None:
    far = datetime.now(UTC) + timedelta(days=200)
    await dan.post("/schedules", {**NIGHTLY, "start": far.isoformat()})
    await dan.call("DELETE", "/connections/core")
    await queue_due(pool, far)
    row = await dan.get("/schedules/nightly")
    assert row["last_error"]
    await dan.post("/connections", CORE)
    await queue_due(pool, far + timedelta(days=1))
    row = await dan.get("/schedules/nightly")
    assert (row["last_error"], len(await jobs(dan))) == (None, 1)


async def test_what_cannot_be_scheduled_is_refused_by_name(dan: Any, staff: Any) -> None:
    for change, expected in (
        ({"target": "nothing"}, 404),
        ({"request": {"connection": "core"}}, 422),
        ({"request": {"connection": "no", "query": "SELECT 1"}}, 404),
        ({"every_s": 5}, 400),
        ({"start": "2026-01-01T00:00:00"}, 422),
        ({"kind": "validate", "target": "quick", "request": {}}, 422),
        ({"kind": "validate", "target": "quick@9", "request": {}}, 404),
        ({"kind": "train"}, 400),
    ):
        answer = await dan.call("POST", "/schedules", {**NIGHTLY, **change})
        assert answer.status == expected, (change, answer.raw)
    assert (await dan.get("/schedules"))["items"] == []
    manager = staff["manager"]
    assert (await manager.refused("POST", "/schedules", NIGHTLY))[0] == 403
