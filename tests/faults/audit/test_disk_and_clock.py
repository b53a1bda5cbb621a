"""R7: no room for another segment. R14: the wall clock is stepped. R8 is in the unit tests."""

from __future__ import annotations

import subprocess
import sys

import asyncpg

from serving.audit.link import prepare
from serving.audit.online import verify_online
from serving.audit.record import encode_record
from tests.spool import drain, fetch, stored_ids

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS

FULL = """
import resource, sys
from pathlib import Path
from serving.audit.room import SpoolFull
from serving.audit.segment import SegmentWriter
from tests.spool import Source
source = Source(Path(sys.argv[1]))
writer = source.writer(segment_bytes=16384)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))  # the disk is full now
refused = 0
while refused < 50:
    try:
        source.append(writer)
    except SpoolFull as error:
        assert error.code == "audit.full"
        writer.drop()
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)  # somebody made room
import time
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    try:
        source.append(writer)
        break
    except SpoolFull:
        time.sleep(0.01)
source.append(writer, 100)
writer.close()
print(len(source.acknowledged), writer.dropped, writer.last_seq)
"""


async def test_full_disk_refuses_counts_and_heals_without_a_restart(source, settings, database_url):
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(source.root)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert child.returncode == 0, child.stderr
    kept, dropped, last = map(int, child.stdout.split())
    assert dropped == 50
    assert kept + dropped == last
    await drain(settings)
    ids = await stored_ids(database_url)
    assert len(ids) == len(set(ids)) == kept
    gap = await fetch(database_url, "SELECT body FROM audit_events WHERE kind = 'spool.gap'")
    assert '"records":50' in gap[0]["body"]
    ledger = await fetch(
        database_url, "SELECT sum(records + dropped), max(last_seq) FROM audit_ledger"
    )
    assert tuple(ledger[0]) == (last, last)


async def test_clock_steps_of_an_hour_move_no_record_out_of_its_day_and_double_none(
    source, settings, database_url
):
    writer = source.writer()
    start = source.record().received_ns
    midnight = start - start % DAY_NS + DAY_NS
    now = midnight - 10 * 60 * 1_000_000_000
    for step_ns in (0, HOUR_NS, -HOUR_NS, HOUR_NS, -2 * HOUR_NS):
        now += step_ns
        for _ in range(20):
            now += 1_000_000
            record = source.record(id=source.next_id(now), received_ns=now, decided_ns=now + 1000)
            writer.append(encode_record(record))
            source.acknowledged.append(record.id)
        await drain(settings)
    stored = await stored_ids(database_url)
    assert len(stored) == len(set(stored))
    assert set(stored) == set(source.acknowledged)
    assert (await fetch(database_url, "SELECT audit_stray_rows()"))[0][0] == 0
    days = await fetch(
        database_url,
        "SELECT count(*) FROM audit_records r JOIN audit_batches b ON b.id = r.batch"
        " WHERE (r.received_at AT TIME ZONE 'UTC')::date <> b.day",
    )
    assert days[0][0] == 0
    connection = await asyncpg.connect(database_url)
    await prepare(connection)
    report = await verify_online(connection, {})
    await connection.close()
    assert report.findings == []
    assert report.rows == 100
    writer.close()


async def test_shipper_whose_clock_jumps_goes_on_shipping(source, settings, database_url):
    times = iter(range(10**18, 10**18 + 10**6))
    writer = source.writer()
    source.append(writer, 10)
    await drain(settings, clock=lambda: HOUR_NS * (next(times) % 7) + 10**18)
    assert len(await stored_ids(database_url)) == 10
    writer.close()
