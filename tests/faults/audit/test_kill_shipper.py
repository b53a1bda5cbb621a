"""R4: the shipper is killed again and again, at any moment; every record arrives exactly once."""

from __future__ import annotations

import random
import signal
import time

import msgspec
import pytest

from tests.spool import drain, fetch, stored_ids


def kill_and_append(source, settings, start_shipper, *, kills, seed):
    """Append all the while; kill the shipper at random moments, some while it is starting."""
    dice = random.Random(seed)
    writers = [source.writer(worker) for worker in range(2)]
    for _ in range(kills):
        child = start_shipper(settings)
        until = time.monotonic() + dice.uniform(0.0, 0.9)
        while time.monotonic() < until:
            source.append(dice.choice(writers), dice.randrange(1, 60))
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
    for writer in writers:
        source.append(writer, 10)
    writers[0].close()  # the other one is as if killed: its segment has no seal
    return writers


async def check(source, settings, database_url):
    await drain(msgspec.structs.replace(settings, drain_s=300))
    stored = await stored_ids(database_url)
    assert len(stored) == len(set(stored)), "a record was stored twice"
    assert set(stored) == set(source.acknowledged)
    gaps = await fetch(
        database_url,
        "SELECT writer, max(seq) - count(*) AS missing FROM audit_records GROUP BY writer",
    )
    assert all(row["missing"] == 0 for row in gaps)


@pytest.mark.parametrize("seed", [1])
async def test_records_arrive_exactly_once_when_the_shipper_is_killed(
    source, settings, database_url, start_shipper, seed
):
    kill_and_append(source, settings, start_shipper, kills=6, seed=seed)
    await check(source, settings, database_url)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_records_arrive_exactly_once_over_many_kills(
    source, settings, database_url, start_shipper, seed
):
    kill_and_append(source, settings, start_shipper, kills=50, seed=seed)
    await check(source, settings, database_url)


async def test_drain_by_sigterm_ships_what_is_there_and_exits_with_zero(
    source, settings, database_url, start_shipper
):
    writer = source.writer()
    source.append(writer, 5000)
    child = start_shipper(settings)
    deadline = time.monotonic() + 20
    while not (source.root / "n1" / "shipper.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=20) == 0
    assert sorted(await stored_ids(database_url)) == sorted(source.acknowledged)
    writer.close()


async def test_worker_killed_while_appending_loses_nothing_that_was_acknowledged(
    source, settings, database_url, tmp_path
):
    """The child prints each sequence number after its append returned; then it is killed."""
    import subprocess
    import sys

    program = """
import sys
from pathlib import Path
from serving.audit.record import encode_record
from tests.spool import Source
source = Source(Path(sys.argv[1]))
writer = source.writer(segment_bytes=16384)
while True:
    source.append(writer)
    print(source.acknowledged[-1].hex(), flush=True)
"""
    dice = random.Random(7)
    acknowledged: list[bytes] = []
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(source.root)], stdout=subprocess.PIPE
        )
        for _ in range(dice.randrange(1, 400)):
            acknowledged.append(bytes.fromhex(child.stdout.readline().decode()))
        child.kill()
        acknowledged += [bytes.fromhex(line.decode()) for line in child.stdout if line[32:]]
        child.wait()
        child.stdout.close()
    await drain(settings)
    stored = await stored_ids(database_url)
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) <= 5  # at most one unanswered record per kill
    assert list((source.root / "n1").glob("*.seg")) == []
