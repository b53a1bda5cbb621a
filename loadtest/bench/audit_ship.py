"""How fast records leave the spool: the shipper beside a bare COPY, and how it catches up.

Both write the same rows into the same partitioned, indexed table of one server, in turn.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from loadtest.errors import LoadTestError
from serving.audit.record import SCHEMA_VERSION, AuditRecord, encode_record, uuid7_source
from serving.audit.segment import SegmentWriter
from serving.settings import ShipperSettings

RECORD_BYTES = 400
ARRIVAL_PER_S = 15_000
MIB = 1 << 20

SHIP = """
import sys
import msgspec
from serving.audit.shipper import run
from serving.settings import ShipperSettings
run(msgspec.json.decode(sys.argv[1], type=ShipperSettings, dec_hook=lambda t, v: t(v)))
"""
COPY = """
import sys
import uvloop
from pathlib import Path
from loadtest.bench.audit_ship import bare_copy
paths = sorted(Path(sys.argv[2]).glob("*.seg"))
uvloop.run(bare_copy(sys.argv[1], paths))
"""


class Ship(Struct, frozen=True):
    """Rows per second of the shipper and of a bare COPY; memory and processor of the shipper."""

    rows: int
    shipper_per_s: float
    copy_per_s: float
    share: float
    rss_anon_mb: float
    cpu_us_per_row: float


class CatchUp(Struct, frozen=True):
    """A backlog is shipped while new records arrive."""

    backlog: int
    arrival_per_s: float
    shipped_per_s: float
    times_arrival: float


def make_payload(next_id: Callable[[int], bytes], number: int) -> bytes:
    """A record as the lending endpoint writes it."""
    now = time.time_ns()
    features = (
        b'{"credit_amount":%d,"duration_in_month":24,"purpose":"car (new)","housing":"own",'
        b'"savings_account_and_bonds":"... < 100 DM","job":"skilled employee/ official"}'
        % (1000 + number % 9000)
    )
    record = AuditRecord(
        SCHEMA_VERSION, next_id(now), now, now + 31_000, "credit", 7, "small_and_safe", (),
        "quick_approval", 3, "sha256:" + "ab" * 32, "key_0123456789", None,
        f"k1:{number % 5000:032x}", "approve", "low_risk", None, None, 200, "process", "default",
        features, None, (), b'{"label":"good","probability":{"bad":0.111,"good":0.889}}', None, 31,
        0,
    )  # fmt: skip
    return encode_record(record)


def fill(folder: Path, rows: int) -> None:
    """Write a spool of so many records and close it."""
    writer = SegmentWriter(folder, "bench", 0)
    next_id = uuid7_source(0)
    for number in range(rows):
        writer.append(make_payload(next_id, number))
    writer.close()


def start_shipper(database: str, folder: Path) -> subprocess.Popen[bytes]:
    """A shipper process on a spool."""
    settings = ShipperSettings(database, folder, "bench")
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    return subprocess.Popen([sys.executable, "-c", SHIP, text])


def measure_ship(
    database: str, folder: Path, rows: int, runs: int, tell: Callable[[str], None]
) -> Ship:
    """A bare COPY and one shipper on a full spool, in turn; medians over the runs.

    In turn, because a machine that others use too is not the same for long.
    """
    found = []
    for number in range(runs):
        tell(f"run {number + 1}/{runs}: {rows:,} records, bare COPY, shipper")
        place = folder / str(number)
        fill(place, rows)
        asyncio.run(_empty(database))
        copied = subprocess.run(
            [sys.executable, "-c", COPY, database, str(place / "bench")],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        asyncio.run(_empty(database))
        child = start_shipper(database, place)
        try:
            elapsed, peak, cpu_s = asyncio.run(_watch(database, child.pid, rows))
        finally:
            child.terminate()
            child.wait()
        found.append((rows / elapsed, float(copied.stdout), peak, cpu_s / rows * 1e6))
    return Ship(
        rows,
        median(each[0] for each in found),
        median(each[1] for each in found),
        median(each[0] / each[1] for each in found),
        max(each[2] for each in found),
        median(each[3] for each in found),
    )


def measure_catch_up(
    database: str, folder: Path, backlog: int, tell: Callable[[str], None]
) -> CatchUp:
    """A shipper meets a backlog while records keep arriving; rate until it has caught up."""
    tell(f"catch-up from {backlog:,} records")
    fill(folder, backlog)
    asyncio.run(_empty(database))
    writer = SegmentWriter(folder, "bench", 1)
    child = start_shipper(database, folder)
    try:
        shipped, sent, elapsed = asyncio.run(_arrive(database, writer, backlog))
    finally:
        child.terminate()
        child.wait()
        writer.close()
    per_s = shipped / elapsed
    arrival = sent / elapsed
    return CatchUp(backlog, arrival, per_s, per_s / arrival)


async def bare_copy(database: str, paths: list[Path]) -> None:
    """COPY the rows of segments in chunks of 10,000, rows made beforehand; prints rows/s."""
    from serving.audit.link import prepare
    from serving.audit.record import decode_record
    from serving.audit.recover import scan
    from serving.audit.row import PLACE, RECORD_COLUMNS, as_uuid, record_values

    rows: list[tuple[Any, ...]] = []
    for path in paths:
        for seq, _, payload in scan(path):
            record = decode_record(payload)
            values = record_values(record, record.features, "bench", seq)
            rows.append((as_uuid(values[0]), *values[1:], 1, 0))
    connection = await asyncpg.connect(database)
    await prepare(connection)
    start = time.perf_counter()
    for first in range(0, len(rows), 10_000):
        await connection.copy_records_to_table(
            "audit_records",
            records=rows[first : first + 10_000],
            columns=(*RECORD_COLUMNS, *PLACE),
        )
    sys.stdout.write(f"{len(rows) / (time.perf_counter() - start)}\n")
    await connection.close()


async def _empty(database: str) -> None:
    """A fresh table for each measurement."""
    connection = await asyncpg.connect(database)
    await connection.execute(
        "TRUNCATE audit_records, audit_ledger, audit_chain, audit_batches, audit_unchained,"
        " audit_checkpoints, audit_event_leaves"
    )
    await connection.execute("CHECKPOINT")
    await connection.close()


SHIPPED = "SELECT coalesce(sum(records), 0)::bigint FROM audit_ledger"


async def _watch(database: str, pid: int, rows: int) -> tuple[float, float, float]:
    """Seconds from the first to the last row, peak RssAnon in MB, processor seconds."""
    connection = await asyncpg.connect(database)
    start = last = 0.0
    peak = 0.0
    first = 0
    deadline = time.monotonic() + 600
    while True:
        shipped = await connection.fetchval(SHIPPED)
        now = time.perf_counter()
        if shipped and not start:
            start, first = now, shipped
        peak = max(peak, rss_anon_mb(pid))
        if shipped >= rows:
            last = now
            break
        if time.monotonic() > deadline:
            raise LoadTestError("the shipper did not finish within 10 minutes")
        await asyncio.sleep(0.02)
    await connection.close()
    # The rows of the first transaction were on their way before it was seen.
    elapsed = (last - start) * rows / max(1, rows - first)
    return elapsed, peak, cpu_seconds(pid)


async def _arrive(database: str, writer: SegmentWriter, backlog: int) -> tuple[int, int, float]:
    connection = await asyncpg.connect(database)
    next_id = uuid7_source(1)
    before = 0
    while before == 0:
        before = await connection.fetchval(SHIPPED)
        await asyncio.sleep(0.01)
    begin = time.perf_counter()
    sent = 0
    while True:
        elapsed = time.perf_counter() - begin
        while sent < elapsed * ARRIVAL_PER_S:
            writer.append(make_payload(next_id, sent))
            sent += 1
        shipped = await connection.fetchval(SHIPPED)
        if shipped >= backlog + sent - ARRIVAL_PER_S // 2 or elapsed > 120:
            break
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - begin
    await connection.close()
    return shipped - before, sent, elapsed


def rss_anon_mb(pid: int) -> float:
    """Anonymous memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
