"""Memory of a worker under steady load: where it starts, where it goes, and how fast."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from loadtest.bench.measure import Requests, make_plan
from loadtest.plan import Limits, Load
from loadtest.processes import execute
from loadtest.record import GOOD, OUTCOMES, Records
from loadtest.schedule import constant

if TYPE_CHECKING:
    from loadtest.bench.node import Server

RATE = 2000.0
"""Requests per second."""
WARM_S = 5.0
"""Left out of the slope: buffers and caches fill."""
LOOK_S = 1.0
BLOCK = 5
"""Looks whose median is one point of the regression: neighbours are not independent."""
LIMIT_MB = 120.0
"""RssAnon of a worker, its models included here."""
GROWTH_MB = 5.0
"""What ten minutes may add before memory counts as growing."""


class Soak(Struct, frozen=True):
    """RssAnon over time.

    Attributes:
        seconds: of load.
        rate: requests per second.
        looks: (second, MiB) of the process that holds most.
        slope: MiB per minute, with the ends of its 95% interval.
        errors: requests without a good answer.
        outcomes: how many requests ended how.
    """

    seconds: float
    rate: float
    looks: tuple[tuple[float, float], ...]
    slope: tuple[float, float, float]
    requests: int
    errors: int
    outcomes: dict[str, int] = {}

    @property
    def flat(self) -> bool:
        """No growth is shown, or less of it than matters in ten minutes."""
        slope, low, _ = self.slope
        return low <= 0 or slope * 10 <= GROWTH_MB


def soak(
    server: Server, requests: Requests, *, seconds: float, cpu: int, rate: float = RATE,
    tell: Callable[[str], None] = lambda _: None,
) -> Soak:  # fmt: skip
    """Ask at a steady rate and look at the server's memory once a second."""
    looks: list[tuple[float, float]] = []
    begun, due = 0.0, 0.0

    def watch(_: list[Records], start_ns: int) -> bool:
        nonlocal begun, due
        begun = begun or start_ns / 1e9
        now = time.monotonic()
        if now >= max(due, begun):
            due = now + LOOK_S
            looks.append((now - begun, server.rss_anon_mb()))
            if len(looks) % 60 == 1:
                tell(f"{looks[-1][0]:5.0f} s  RssAnon {looks[-1][1]:.1f} MiB")
        return False

    load = Load(constant(rate, seconds))
    limits = Limits(
        max_requests=math.ceil(2 * rate * seconds), max_seconds=max(3600.0, seconds + 60)
    )
    raw = execute(make_plan(server, requests, load, cpu, 32, limits=limits), watch)
    counts = np.bincount(raw.records.outcome, minlength=len(OUTCOMES)).tolist()
    outcomes = {name: count for name, count in zip(OUTCOMES, counts, strict=True) if count}
    errors = len(raw.records) - counts[GOOD]
    return Soak(seconds, rate, tuple(looks), slope_of(looks), len(raw.records), errors, outcomes)


def slope_of(looks: list[tuple[float, float]]) -> tuple[float, float, float]:
    """MiB per minute by least squares over medians of neighbours, with a 95% interval.

    >>> slope_of([(float(second), 100.0) for second in range(60)])
    (0.0, 0.0, 0.0)
    """
    steady = [each for each in looks if each[0] >= WARM_S]
    blocks = [steady[at : at + BLOCK] for at in range(0, len(steady) - BLOCK + 1, BLOCK)]
    if len(blocks) < 3:
        return math.nan, -math.inf, math.inf
    x = np.array([median(second for second, _ in block) / 60 for block in blocks])
    y = np.array([median(size for _, size in block) for block in blocks])
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(centred @ centred))
    half = _student(len(x) - 2) * error
    return slope, slope - half, slope + half


def _student(freedom: int) -> float:
    """Two-sided 95% quantile of Student's t, by Cornish and Fisher's expansion; exact enough."""
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def show_soak(found: Soak) -> None:
    """The result as lines."""
    from loadtest.show import wide_console

    console = wide_console()
    console.print(f"soak: {found.rate:,.0f} requests/s for {found.seconds:g} s, RssAnon")
    minutes = [look for number, look in enumerate(found.looks) if number % 60 == 0]
    for second, size in (*minutes, found.looks[-1]):
        console.print(f"{second:7.0f} s {size:8.1f} MiB")
    slope, low, high = found.slope
    console.print(f"slope {slope:+.3f} MiB a minute, 95% interval {low:+.3f} to {high:+.3f}")
    ended = ", ".join(f"{count:,} {name}" for name, count in found.outcomes.items())
    console.print(f"{found.requests:,} requests: {ended}")
    most = max(size for _, size in found.looks)
    held = "held" if most <= LIMIT_MB else f"{most - LIMIT_MB:.0f} MiB more, models included"
    console.print(f"at most {LIMIT_MB:g} MiB besides the models: {held}")
    console.print("flat: " + ("yes" if found.flat else "NO"))
