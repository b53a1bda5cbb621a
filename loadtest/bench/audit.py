"""``interlock bench audit``: what a record costs the request, and how fast records are shipped.

Append is measured in this process. Shipping is one shipper process on a spool written beforehand,
against a bare asyncpg COPY of the same rows into the same partitioned, indexed table, in the same
run, on the same server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import Struct

from loadtest.bench.audit_lines import audit_lines
from loadtest.bench.audit_ship import (
    RECORD_BYTES,
    CatchUp,
    Ship,
    measure_catch_up,
    measure_ship,
)
from loadtest.bench.lines import keep
from serving.audit.durability import GroupSync
from serving.audit.segment import SegmentWriter

if TYPE_CHECKING:
    from loadtest.bench.audit_serve import Serving, StrictServing

APPEND_PACE_S = 0.004
APPEND_BURST = 200
WARM = 2000
STRICT_PER_S = 5000


class Append(Struct, frozen=True):
    """Latency of an append in microseconds at 50k/s, and the rate of a loop without pauses."""

    p50_us: float
    p99_us: float
    p999_us: float
    timer_us: float
    per_s: float


class Strict(Struct, frozen=True):
    """Wait for the disk in milliseconds at ``per_s`` records a second."""

    per_s: float
    p50_ms: float
    p99_ms: float


class AuditReport(Struct, frozen=True):
    """Everything that was measured."""

    append: Append
    strict: Strict
    ship: Ship | None
    catch_up: CatchUp | None
    serving: Serving | None = None
    strict_serving: StrictServing | None = None
    format: str = "interlock/bench-audit/v1"


@click.command()
@click.option("--rows", type=click.IntRange(1000), default=200_000, show_default=True)
@click.option("--runs", type=click.IntRange(1, 99), default=3, show_default=True,
              help="Of COPY and shipper in turn.")  # fmt: skip
@click.option("--database", help="PostgreSQL with the migrations; else a scratch one.")
@click.option("--spool", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the segments; else a temporary one.")  # fmt: skip
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="German credit CSV, for whole requests.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    rows: int,
    runs: int,
    database: str | None,
    spool: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Measure append, group sync, shipping, and what the evidence costs a whole request."""

    def tell(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    with contextlib.ExitStack() as stack:
        folder = spool or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="il-spool-")))
        tell("append")
        append = measure_append(folder / "append", rows)
        tell("strict")
        strict = asyncio.run(measure_strict(folder / "strict"))
        ship = catch_up = None
        scratch = (ctx.obj or {}).get("database")
        if database is None and scratch is not None:
            tell("starting a scratch PostgreSQL")
            database = stack.enter_context(scratch())
        if database is not None:
            ship = measure_ship(database, folder / "ship", rows, runs, tell)
            catch_up = measure_catch_up(database, folder / "catch", rows // 2, tell)
        serving = strict_serving = None
        chosen = data or (ctx.obj or {}).get("credit_data")
        if chosen is not None:
            from loadtest.bench.audit_serve import measure_serving

            serving, strict_serving = measure_serving(chosen, folder / "serve", runs, tell)
    report = AuditReport(append, strict, ship, catch_up, serving, strict_serving)
    keep(ctx, audit_lines(report))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        show(report)


def show(report: AuditReport) -> None:
    """Print the figures beside their goals."""
    a, s = report.append, report.strict
    click.echo(
        f"append   p50 {a.p50_us:.2f} us (goal 1.5)  p99 {a.p99_us:.2f} us (5)  "
        f"p99.9 {a.p999_us:.1f} us (50)  {a.per_s:,.0f} records/s (100,000)"
    )
    click.echo(
        f"strict   p50 {s.p50_ms:.2f} ms (goal 3)  p99 {s.p99_ms:.2f} ms at {s.per_s:,.0f}/s"
    )
    if report.ship is not None:
        p = report.ship
        click.echo(
            f"ship     {p.shipper_per_s:,.0f} rows/s (30,000), bare COPY {p.copy_per_s:,.0f}: "
            f"{p.share:.0%} (60%)  RssAnon {p.rss_anon_mb:.0f} MB (150)  "
            f"{p.cpu_us_per_row:.1f} us CPU per row"
        )
    if report.serving is not None:
        v = report.serving
        click.echo(
            f"serving  {v.on_us:.1f} us CPU per request with audit, {v.off_us:.1f} without: "
            f"{v.share:.0%} of the throughput (93%)  {v.on_per_s:,.0f} and {v.off_per_s:,.0f}/s"
        )
    if report.strict_serving is not None:
        h = report.strict_serving
        click.echo(
            f"strict   over HTTP at {h.per_s:,.0f}/s: p50 {h.strict_p50_ms:.2f} ms, "
            f"{h.added_p50_ms:.2f} ms more than process (goal 3)  p99 {h.strict_p99_ms:.2f} ms  "
            f"{h.errors} errors"
        )
    if report.catch_up is not None:
        c = report.catch_up
        click.echo(
            f"catch-up {c.shipped_per_s:,.0f} rows/s while {c.arrival_per_s:,.0f}/s arrive: "
            f"{c.times_arrival:.1f}x (2x)"
        )


def measure_append(folder: Path, count: int) -> Append:
    """Latency of single appends in bursts, then the rate of a tight loop."""
    payload = os.urandom(RECORD_BYTES)
    writer = SegmentWriter(folder, "bench", 0)
    append, now = writer.append, time.perf_counter_ns
    for _ in range(WARM):
        append(payload)
    taken = []
    for _ in range(min(count, 200_000) // APPEND_BURST):
        for _ in range(APPEND_BURST):
            start = now()
            append(payload)
            taken.append(now() - start)
        time.sleep(APPEND_PACE_S)
    timer = sorted([-now() + now() for _ in range(10_000)])[5000]
    start = now()
    for _ in range(count):
        append(payload)
    rate = count / (now() - start) * 1e9
    writer.close()
    taken.sort()
    at = [taken[int(len(taken) * share)] / 1000 for share in (0.5, 0.99, 0.999)]
    return Append(at[0], at[1], at[2], timer / 1000, rate)


async def measure_strict(folder: Path, *, seconds: float = 3.0) -> Strict:
    """Time from append to the disk's word, one group sync for all that wait."""
    writer = SegmentWriter(folder, "bench", 0)
    loop = asyncio.get_running_loop()
    sync = GroupSync(writer, loop)
    payload = os.urandom(RECORD_BYTES)
    waits: list[float] = []
    pending: set[asyncio.Future[None]] = set()

    def note(start: float) -> Callable[[asyncio.Future[None]], None]:
        return lambda _: waits.append(loop.time() - start)

    begin = loop.time()
    sent = 0
    while loop.time() - begin < seconds:
        due = int((loop.time() - begin) * STRICT_PER_S)
        while sent < due:
            future = sync.wait(writer.append(payload))
            future.add_done_callback(note(loop.time()))
            pending.add(future)
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*pending)
    elapsed = loop.time() - begin
    sync.close()
    writer.close()
    waits.sort()
    return Strict(sent / elapsed, waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3)
