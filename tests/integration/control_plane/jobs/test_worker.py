"""The queue and the worker on a real PostgreSQL, with child processes that are really killed."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.db.pool import Pool
from control_plane.jobs import service, store
from control_plane.jobs.schemas import ENDED
from control_plane.jobs.worker import Worker, reap
from control_plane.settings import PoolSettings, WorkerSettings

SAMPLE = """
import asyncio, os, signal
from compiler.errors import AppError
from control_plane.errors import UnavailableError

async def echo(task):
    print("a library that prints")
    task.note("hello")
    task.progress(0.5, "half way", {"best": 1})
    return {"said": task.payload["say"], "pid": os.getpid()}

async def refuse(task):
    raise AppError("no such column", code="sample.column", at="x")

async def flaky(task):
    if task.claim.attempt == 1:
        raise UnavailableError("came too early")
    return {"attempt": task.claim.attempt}

async def suicide(task):
    os.kill(os.getpid(), signal.SIGKILL)

async def crash(task):
    return {"x": 1 // 0}

async def wait(task):
    task.progress(0.25, "waiting", {"pid": os.getpid()})
    await asyncio.sleep(600)

KINDS = {name: f"sample_jobs:{name}" for name in
         ("echo", "refuse", "flaky", "suicide", "crash", "wait")}
"""


@pytest.fixture
async def pool(database_url):
    async with Pool(PoolSettings(database_url)) as pool:
        yield pool


@pytest.fixture
def settings(database_url, tmp_path: Path, monkeypatch):
    (tmp_path / "sample_jobs.py").write_text(SAMPLE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("control_plane.jobs.worker.RETRY_DELAY_S", 0.0)
    return WorkerSettings(
        database_url, str(tmp_path / "store"), tmp_path, tmp_path / "builder.key", poll_s=0.2
    )


@asynccontextmanager
async def working(settings, slots=1):
    worker = Worker(settings, slots=slots, kinds_path="sample_jobs:KINDS")
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 20)


async def put(pool, kind, payload=None, **options):
    async with pool.transaction() as connection:
        job, _ = await service.enqueue(
            connection, kind, payload or {}, created_by="ada@example.com", **options
        )
    return job


async def seen(pool, job, until):
    """The job as soon as it satisfies a condition."""
    async with asyncio.timeout(20):
        while True:
            async with pool.connection() as connection:
                found = await service.detail(connection, job)
            if until(found.job):
                return found
            await asyncio.sleep(0.02)


async def ended(pool, job):
    return await seen(pool, job, lambda found: found.state in ENDED)


async def test_result_progress_and_log_of_a_finished_job_are_kept(pool, settings):
    job = await put(pool, "echo", {"say": "ok"})
    async with working(settings):
        found = await ended(pool, job)
    assert found.job.state == "succeeded"
    assert found.job.result["said"] == "ok"
    assert found.job.progress == 1
    assert [line.line for line in found.log] == ["hello"]
    assert [attempt.outcome for attempt in found.attempts] == ["succeeded"]


async def test_second_job_reuses_the_warm_process(pool, settings):
    async with working(settings):
        first = await ended(pool, await put(pool, "echo", {"say": "1"}))
        second = await ended(pool, await put(pool, "echo", {"say": "2"}))
    assert first.job.result["pid"] == second.job.result["pid"]


async def test_refusal_fails_at_once_with_its_code(pool, settings):
    async with working(settings):
        found = await ended(pool, await put(pool, "refuse"))
    assert (found.job.state, found.job.attempts) == ("failed", 1)
    assert (found.job.error.code, found.job.error.at) == ("sample.column", "x")


async def test_passing_failure_is_tried_again_and_the_reason_kept(pool, settings):
    async with working(settings):
        found = await ended(pool, await put(pool, "flaky"))
    assert found.job.result == {"attempt": 2}
    assert [attempt.outcome for attempt in found.attempts] == ["retried", "succeeded"]
    assert "came too early" in found.attempts[0].reason


async def test_killed_child_is_retried_until_the_tries_are_used_up(pool, settings):
    async with working(settings):
        found = await ended(pool, await put(pool, "suicide", max_attempts=2))
    assert (found.job.state, found.job.attempts) == ("failed", 2)
    assert "SIGKILL" in found.job.error.message


async def test_crash_names_the_class_and_the_place(pool, settings):
    async with working(settings):
        found = await ended(pool, await put(pool, "crash"))
    assert found.job.error.code == "job.crashed"
    assert found.job.error.message.startswith("ZeroDivisionError")
    assert found.job.error.at.startswith("sample_jobs.py:")


async def test_unknown_kind_is_refused_by_name(pool, settings):
    async with working(settings):
        found = await ended(pool, await put(pool, "alchemy"))
    assert found.job.error.code == "job.kind"


async def test_cancel_ends_a_running_job_and_its_process(pool, settings):
    job = await put(pool, "wait")
    async with working(settings):
        running = await seen(pool, job, lambda found: found.live)
        async with pool.transaction() as connection:
            assert await store.cancel(connection, job)
        found = await ended(pool, job)
        assert found.job.state == "cancelled"
        with pytest.raises(ProcessLookupError):
            os.kill(running.job.live["pid"], 0)


async def test_stopped_worker_gives_its_job_back_without_counting_the_try(pool, settings):
    job = await put(pool, "wait")
    async with working(settings):
        await seen(pool, job, lambda found: found.live)
    async with pool.connection() as connection:
        found = await service.detail(connection, job)
    assert found.job.state == "queued"
    assert found.job.max_attempts == found.job.attempts + 3
    assert found.attempts[0].outcome == "released"


async def test_job_of_a_silent_worker_is_taken_over(pool, settings):
    job = await put(pool, "echo", {"say": "late"})
    async with pool.transaction() as connection:
        claim = await store.claim(connection, "dead worker", 0.0)
    assert claim.id == job
    async with working(settings):
        found = await ended(pool, job)
    assert found.job.state == "succeeded"
    assert [attempt.outcome for attempt in found.attempts] == ["retried", "succeeded"]
    assert "dead worker went silent" in found.attempts[0].reason


async def test_last_try_of_a_silent_worker_ends_the_job_with_that_reason(pool):
    job = await put(pool, "echo", max_attempts=1)
    async with pool.transaction() as connection:
        await store.claim(connection, "dead worker", 0.0)
        assert await reap(connection) == 1
    found = await ended(pool, job)
    assert (found.job.state, found.job.error.code) == ("failed", "job.worker_lost")


async def test_worker_that_lost_its_lease_can_change_nothing(pool):
    job = await put(pool, "echo")
    async with pool.transaction() as connection:
        old = await store.claim(connection, "slow", 0.0)
        await reap(connection)
        new = await store.claim(connection, "fresh", 60.0)
        assert new.id == job
        assert await store.beat(connection, old, 60.0) is None
        assert not await store.succeed(connection, old, {"wrong": True})
        assert not await store.own(connection, old)
        assert await store.succeed(connection, new, {"right": True})
    assert (await ended(pool, job)).job.result == {"right": True}


async def test_one_job_is_claimed_by_one_of_many(pool):
    for _ in range(3):
        await put(pool, "echo")

    async def take(name):
        async with pool.transaction() as connection:
            return await store.claim(connection, name, 60.0)

    claims = await asyncio.gather(*(take(f"w{i}") for i in range(6)))
    ids = [claim.id for claim in claims if claim]
    assert len(ids) == len(set(ids)) == 3


async def test_ended_job_never_changes(pool):
    job = await put(pool, "echo")
    async with pool.transaction() as connection:
        await store.cancel(connection, job)
    with pytest.raises(Exception, match="database refused"):
        async with pool.transaction() as connection:
            await connection.execute("UPDATE jobs SET state = 'queued' WHERE id = $1", job)


async def test_idempotency_key_gives_the_first_job_and_refuses_other_work(pool):
    first = await put(pool, "echo", {"say": 1}, idempotency_key="k")
    assert await put(pool, "echo", {"say": 1}, idempotency_key="k") == first
    with pytest.raises(Exception, match="used for another request"):
        await put(pool, "echo", {"say": 2}, idempotency_key="k")


async def test_child_of_a_killed_worker_dies_with_it(pool, settings, tmp_path):
    job = await put(pool, "wait")
    script = (
        "import sys; from pathlib import Path; from control_plane.jobs import worker as w;"
        "from control_plane.settings import WorkerSettings as S; import asyncio;"
        f"s = S({settings.database_url!r}, '', Path({str(tmp_path)!r}), Path('k'));"
        "asyncio.run(w.Worker(s, slots=1, kinds_path='sample_jobs:KINDS').run())"
    )
    import sys

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    try:
        running = await seen(pool, job, lambda found: found.live)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    pid = running.job.live["pid"]
    async with asyncio.timeout(10):
        while True:
            try:
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                break
            if status == "Z":
                break
            await asyncio.sleep(0.02)
