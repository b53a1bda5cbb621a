"""Schedules: when each request is due, computed and seeded before the run.

Every arrival process is one idea: draw points of a process with unit rate, then bend time so that
the rate follows the profile (inversion of the cumulative rate; Cinlar, Introduction to Stochastic
Processes, 1975). A constant arrival takes the points 1, 2, 3 ..., a Poisson arrival the running sum
of exponential draws. Profiles are corners of a piecewise linear rate, so the cumulative rate is a
piecewise quadratic with an exact inverse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from loadtest.plan import Load

Knots = tuple[tuple[float, float], ...]
NS = 1_000_000_000


def build_schedule(load: Load) -> np.ndarray:
    """Offsets of every request from the start of the run.

    Returns:
        shape (requests,), int64 nanoseconds, ascending; offsets before ``warmup_s`` are warm-up.
    """
    if load.trace:
        return np.asarray(np.asarray(load.trace, dtype=np.float64) * NS, dtype=np.int64)
    knots = _with_warmup(load.knots, load.warmup_s)
    times = np.array([t for t, _ in knots], dtype=np.float64)
    rates = np.array([r for _, r in knots], dtype=np.float64)
    area = np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
    points = _points(load, float(area[-1]))
    offsets: np.ndarray = (_invert(points, times, rates, area) * NS).astype(np.int64)
    return offsets


def _points(load: Load, total: float) -> np.ndarray:
    """Points of a unit-rate process on (0, total]."""
    if load.arrival == "constant":
        return np.arange(1, int(total + 1e-9) + 1, dtype=np.float64) - 0.5
    rng = np.random.default_rng([load.seed, 1])
    parts, reached = [], 0.0
    while reached < total:
        room = total - reached
        part = reached + np.cumsum(rng.exponential(size=int(room + 6 * room**0.5 + 16)))
        parts.append(part)
        reached = float(part[-1])
    drawn = np.concatenate([np.empty(0), *parts])
    kept: np.ndarray = drawn[drawn < total]
    return kept


def _invert(
    points: np.ndarray, times: np.ndarray, rates: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """Time at which the cumulative rate reaches each point; seconds, float64."""
    piece = np.clip(np.searchsorted(area, points, side="right") - 1, 0, len(times) - 2)
    rest = points - area[piece]
    span = times[piece + 1] - times[piece]
    r0 = rates[piece]
    slope = np.divide(rates[piece + 1] - r0, span, out=np.zeros_like(span), where=span > 0)
    # r0*x + slope*x^2/2 = rest, in the form that loses no digits when the slope is near 0
    root = np.sqrt(np.maximum(r0 * r0 + 2 * slope * rest, 0.0))
    moved = np.divide(2 * rest, r0 + root, out=np.zeros_like(rest), where=(r0 + root) > 0)
    bent: np.ndarray = times[piece] + np.minimum(moved, span)
    return bent


def _with_warmup(knots: Knots, warmup_s: float) -> Knots:
    if warmup_s <= 0:
        return knots
    first = knots[0][1]
    return ((0.0, first), *((t + warmup_s, r) for t, r in knots))


def constant(rate: float, duration_s: float) -> Knots:
    """One rate throughout."""
    return ((0.0, rate), (duration_s, rate))


def ramp(rate: float, to: float, duration_s: float) -> Knots:
    """A straight line from one rate to another."""
    return ((0.0, rate), (duration_s, to))


def step(rate: float, to: float, steps: int, duration_s: float) -> Knots:
    """``steps`` plateaus of equal length from ``rate`` to ``to``."""
    width = duration_s / steps
    knots: list[tuple[float, float]] = []
    for k in range(steps):
        level = rate + (to - rate) * k / max(steps - 1, 1)
        knots += [(k * width, level), ((k + 1) * width, level)]
    return tuple(knots)


def spike(rate: float, to: float, duration_s: float, share: float = 0.2) -> Knots:
    """``rate`` with one plateau of ``to`` in the middle that takes ``share`` of the time."""
    begin, end = duration_s * (1 - share) / 2, duration_s * (1 + share) / 2
    return (
        (0.0, rate), (begin, rate), (begin, to), (end, to), (end, rate), (duration_s, rate),
    )  # fmt: skip


def on_off(rate: float, on_s: float, off_s: float, duration_s: float) -> Knots:
    """Bursts of ``rate`` for ``on_s``, then silence for ``off_s``, again and again."""
    knots: list[tuple[float, float]] = []
    at = 0.0
    while at < duration_s:
        end = min(at + on_s, duration_s)
        rest = min(end + off_s, duration_s)
        knots += [(at, rate), (end, rate)]
        if rest > end:
            knots += [(end, 0.0), (rest, 0.0)]
        at = rest
    return tuple(knots)


def read_trace(path: Path) -> tuple[float, ...]:
    """Offsets in seconds from a file with one number per line, counted from the first.

    A first line that is not a number is taken as a heading; of several columns the first counts.

    Raises:
        LoadTestError: no numbers, a word among the numbers, or a time before the one above it.
    """
    offsets: list[float] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LoadTestError(f"cannot read it: {error.strerror}", at=str(path)) from None
    except UnicodeDecodeError:
        raise LoadTestError("expected lines of numbers, got no text", at=str(path)) from None
    for number, line in enumerate(lines, 1):
        cell = line.split(",")[0].strip()
        if not cell or cell.startswith("#"):
            continue
        try:
            value = float(cell)
        except ValueError:
            if number == 1:
                continue
            raise LoadTestError(
                f"expected a time in seconds, got {cell!r}", at=f"{path}:{number}"
            ) from None
        if not np.isfinite(value) or (offsets and value < offsets[-1]):
            raise LoadTestError(
                f"times go backwards: {cell} after {offsets[-1] if offsets else 'the start'}",
                at=f"{path}:{number}",
                hint="sort the trace by time",
            )
        offsets.append(value)
    if len(offsets) < 2 or offsets[-1] == offsets[0]:
        raise LoadTestError("expected at least two different times", at=str(path))
    first = offsets[0]
    return tuple(value - first for value in offsets)
