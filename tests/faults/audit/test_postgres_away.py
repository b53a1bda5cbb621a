"""R3: PostgreSQL is stopped, killed, frozen; the shipper waits and loses and doubles nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import msgspec

from control_plane.db.migrate import migrate
from serving.audit.shipper import Shipper
from tests.spool import drain, stored_ids


async def until(ready, limit_s=20.0):
    async with asyncio.timeout(limit_s):
        while not ready():
            await asyncio.sleep(0.005)


async def test_restarts_and_crashes_of_postgres_lose_and_double_nothing(
    source, settings, own_postgres
):
    await migrate(own_postgres.url())
    settings = msgspec.structs.replace(settings, database_url=own_postgres.url())
    writer = source.writer()
    shipper = Shipper(settings)
    running = asyncio.create_task(shipper.run())
    dice = random.Random(3)

    async def load():
        while True:
            source.append(writer, dice.randrange(1, 40))
            await asyncio.sleep(0.001)

    loading = asyncio.create_task(load())
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGINT):
        before = shipper.status.shipped
        await until(lambda start=before: shipper.status.shipped > start + 50)
        await asyncio.to_thread(own_postgres.stop, how)
        failures = shipper.status.failures
        await until(lambda start=failures: shipper.status.failures > start + 1)
        await asyncio.to_thread(own_postgres.start)
    loading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loading
    shipper.stop()
    await running
    writer.close()
    await drain(settings)
    stored = await stored_ids(own_postgres.url())
    assert len(stored) == len(set(stored))
    assert set(stored) == set(source.acknowledged)


async def test_frozen_postgres_is_left_by_the_deadline_and_found_again(
    source, settings, own_postgres
):
    await migrate(own_postgres.url())
    settings = msgspec.structs.replace(settings, database_url=own_postgres.url(), deadline_s=0.5)
    writer = source.writer()
    shipper = Shipper(settings)
    running = asyncio.create_task(shipper.run())
    source.append(writer, 100)
    await until(lambda: shipper.status.shipped == 100)
    children = [int(pid) for pid in await asyncio.to_thread(_children, own_postgres.pid)]
    for pid in (own_postgres.pid, *children):
        os.kill(pid, signal.SIGSTOP)
    try:
        source.append(writer, 100)
        await until(lambda: "DeadlineExceeded" in shipper.status.last_error)
    finally:
        for pid in (own_postgres.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    await until(lambda: shipper.status.shipped >= 200)
    shipper.stop()
    await running
    writer.close()
    stored = await stored_ids(own_postgres.url())
    assert len(stored) == len(set(stored))
    assert set(stored) == set(source.acknowledged)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
