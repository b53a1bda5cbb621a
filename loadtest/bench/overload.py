"""Good answers per second when more is asked than can be answered: what is shed must cost little.

Requests carry several rows, so that one generator can ask for five times the capacity. An answer is
good when it came within the endpoint's deadline, counted from when the request was sent: what waits
for one of the generator's connections has not reached the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

from loadtest.bench.credit import ENDPOINT
from loadtest.bench.isolation import capacity
from loadtest.bench.measure import Requests, check_server, make_plan
from loadtest.plan import Limits, Load
from loadtest.processes import execute
from loadtest.record import GOOD, UNAVAILABLE
from loadtest.schedule import constant

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

ROWS = 32
"""Rows of one request."""
FACTORS = (0.8, 0.9, 1.0, 2.0, 5.0)
"""Of the rate that a closed loop reaches; those up to 1 look for the knee."""
DEADLINE_S = 1.0
FLOOR = 0.95
WARM_S = 1.0


class Point(Struct, frozen=True):
    """One open loop; rates per second, latencies of good answers in microseconds.

    Attributes:
        factor: of the closed loop's rate.
        shed: answered 503 per second.
        other: neither good nor shed, per second: late, refused otherwise, not answered.
    """

    factor: float
    offered: float
    goodput: float
    shed: float
    other: float
    p50_us: float
    p99_us: float


class Overload(Struct, frozen=True):
    """Goodput below and beyond the knee.

    Attributes:
        closed_rate: requests per second of a closed loop.
        points: every run, in order.
        rows: of a request.
    """

    closed_rate: float
    points: tuple[Point, ...]
    rows: int = ROWS

    def goodput(self, factor: float) -> float:
        """Median over the runs at a factor."""
        return median(each.goodput for each in self.points if each.factor == factor)

    @property
    def knee(self) -> float:
        """The most good answers per second that any rate up to the closed loop's brought."""
        return max(self.goodput(factor) for factor in FACTORS if factor <= 1)

    def kept(self, factor: float) -> float:
        """Share of the knee's goodput that is left at a factor."""
        return self.goodput(factor) / self.knee


def many_rows(node: Node, rows: int = ROWS) -> Requests:
    """The node's rows as native requests of several."""
    source = [msgspec.json.decode(body, type=msgspec.Raw) for body in node.bodies]
    parts = [source[at : at + rows] for at in range(0, len(source) - rows + 1, rows)]
    return Requests(
        f"/v1/predict/{ENDPOINT}",
        tuple(msgspec.json.encode({"rows": part}) for part in parts),
        (("Authorization", f"Bearer {node.key}"),),
    )


def overload(
    server: Server, requests: Requests, *, cpu: int, runs: int = 3, seconds: float = 3.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Overload:  # fmt: skip
    """Offer more than the server can do, in turns with what it can.

    Args:
        server: running.
        requests: as :func:`many_rows` makes them.
        cpu: core of the generator.
        runs: per factor, interleaved.
        seconds: judged of each run.
        tell: told each step.
    """
    check_server(server, requests)
    closed = capacity(server, requests, cpu=cpu)
    points = []
    for number in range(runs):
        for factor in FACTORS:
            point = _offer(server, requests, closed, factor, cpu=cpu, seconds=seconds)
            points.append(point)
            tell(
                f"run {number + 1}/{runs} {factor:g} times {closed:,.0f}/s: "
                f"{point.goodput:,.0f} good, {point.shed:,.0f} shed, {point.other:,.0f} other"
            )
    return Overload(closed, tuple(points))


def _offer(
    server: Server, requests: Requests, closed: float, factor: float, *, cpu: int, seconds: float
) -> Point:
    rate = factor * closed
    load = Load(constant(rate, seconds), warmup_s=WARM_S)
    limits = Limits(max_requests=math.ceil(2 * rate * (seconds + WARM_S)), timeout_s=5.0)
    raw = execute(make_plan(server, requests, load, cpu, 64, limits=limits))
    begin = raw.start_ns + int(WARM_S * 1e9)
    mine = raw.records.take(raw.records.scheduled >= begin)
    took = mine.last - mine.sent
    good = (mine.outcome == GOOD) & (took <= DEADLINE_S * 1e9)
    shed = int(np.count_nonzero(mine.outcome == UNAVAILABLE))
    count = int(np.count_nonzero(good))
    p50, p99 = np.percentile(took[good] / 1e3, (50, 99)) if count else (math.nan, math.nan)
    return Point(
        factor, len(mine) / seconds, count / seconds, shed / seconds,
        (len(mine) - count - shed) / seconds, float(p50), float(p99),
    )  # fmt: skip


def show_overload(found: Overload) -> None:
    """The result as a table."""
    from rich.table import Table

    from loadtest.show import show_time, wide_console

    console = wide_console()
    table = Table(title=f"more than can be done: {found.rows} rows a request, open loop", box=None)
    for name in ("offered", "requests/s", "good", "shed", "other", "p99 of good", "of the knee"):
        table.add_column(name, justify="right")
    for factor in FACTORS:
        mine = [each for each in found.points if each.factor == factor]
        table.add_row(
            f"{factor:g}x",
            f"{median(each.offered for each in mine):,.0f}",
            f"{found.goodput(factor):,.0f}",
            f"{median(each.shed for each in mine):,.0f}",
            f"{median(each.other for each in mine):,.0f}",
            show_time(median(each.p99_us for each in mine)),
            f"{found.kept(factor):.0%}",
        )
    console.print(table)
    for factor in (each for each in FACTORS if each > 1):
        held = "held" if found.kept(factor) >= FLOOR else "NOT held"
        console.print(f"goodput at {factor:g}x at least {FLOOR:.0%} of the knee's: {held}")
