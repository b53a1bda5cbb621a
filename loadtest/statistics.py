"""Figures of a run, from its records: percentiles with their bounds, rates, errors, lag, windows.

Corrected latency runs from the scheduled time to the last byte, uncorrected latency from sending.
Both are taken over requests that ended with an answer, good or not, or at the timeout, which is
charged with the time waited; refused connections and cut answers are errors without a latency, and
abandoned requests are left out.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from loadtest import record
from loadtest.certify import certify

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)
NO_LATENCY = (record.PENDING, record.CONNECT, record.RESET, record.ABANDONED, record.PROTOCOL)
WINDOWS = 30


class Percentile(Struct, frozen=True):
    """One percentile, in microseconds.

    Attributes:
        percentile: share below 1.
        corrected: from the scheduled time; None without samples.
        bound: certified upper bound of the corrected value, None when not certifiable.
        uncorrected: from the time of sending; what a tool without correction would print.
        needed: samples that certify this percentile.
    """

    percentile: float
    corrected: float | None
    bound: float | None
    uncorrected: float | None
    needed: int


class Window(Struct, frozen=True):
    """One slice of the measured time.

    Attributes:
        start_s: from the start of the run.
        offered, completed, good: requests per second due, answered and good.
        p50_us, p99_us: corrected latency of the requests due in the window.
        inflight: requests due but not ended at the window's end.
    """

    start_s: float
    offered: float
    completed: float
    good: float
    p50_us: float | None
    p99_us: float | None
    inflight: int


class Figures(Struct, frozen=True):
    """Everything that is judged and shown; rates per second, times in microseconds."""

    requests: int
    samples: int
    seconds: float
    offered_rate: float
    sent_rate: float
    completed_rate: float
    good_rate: float
    sent_share: float
    error_share: float
    goodput_share: float
    mean_us: float | None
    max_us: float | None
    percentiles: tuple[Percentile, ...]
    outcomes: dict[str, int]
    statuses: dict[str, int]
    lag_p50_us: float
    lag_p99_us: float
    lag_max_us: float


def measure(records: record.Records, seconds: float) -> Figures:
    """Figures of the given requests, which were due within ``seconds``."""
    outcome = np.asarray(records.outcome)
    total = len(records)
    ended = outcome != record.PENDING
    judged = records.take(~np.isin(outcome, NO_LATENCY))
    corrected = np.sort(judged.last - judged.scheduled) / 1e3
    sent = np.where(judged.sent > 0, judged.sent, judged.last)
    uncorrected = np.sort(judged.last - sent) / 1e3
    good = int(np.count_nonzero(outcome == record.GOOD))
    kept = int(np.count_nonzero(outcome != record.ABANDONED))
    picked = records.picked > 0
    lag = np.sort((records.picked - records.scheduled)[picked]) / 1e3
    statuses, counts = np.unique(records.status[records.status > 0], return_counts=True)
    return Figures(
        requests=total,
        samples=len(corrected),
        seconds=seconds,
        offered_rate=total / seconds,
        sent_rate=float(np.count_nonzero(records.sent)) / seconds,
        completed_rate=float(np.count_nonzero(ended & (records.status > 0))) / seconds,
        good_rate=good / seconds,
        sent_share=float(np.count_nonzero(picked)) / total if total else 0.0,
        error_share=(kept - good) / kept if kept else 0.0,
        goodput_share=good / kept if kept else 0.0,
        mean_us=float(corrected.mean()) if len(corrected) else None,
        max_us=float(corrected[-1]) if len(corrected) else None,
        percentiles=tuple(_percentile(corrected, uncorrected, p) for p in PERCENTILES),
        outcomes={
            name: int(n)
            for name, n in zip(
                record.OUTCOMES, np.bincount(outcome, minlength=len(record.OUTCOMES)), strict=True
            )
            if n
        },
        statuses={str(s): int(n) for s, n in zip(statuses, counts, strict=True)},
        lag_p50_us=nearest_rank(lag, 0.5) or 0.0,
        lag_p99_us=nearest_rank(lag, 0.99) or 0.0,
        lag_max_us=float(lag[-1]) if len(lag) else 0.0,
    )


def _percentile(corrected: np.ndarray, uncorrected: np.ndarray, p: float) -> Percentile:
    bound = certify(corrected, p)
    return Percentile(
        p, nearest_rank(corrected, p), bound.value, nearest_rank(uncorrected, p), bound.needed
    )


def nearest_rank(ordered: np.ndarray, percentile: float) -> float | None:
    """The smallest sample with at least that share at or below it; None without samples.

    >>> nearest_rank(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    2.0
    """
    if not len(ordered):
        return None
    rank = int(np.ceil(round(percentile * len(ordered), 9))) - 1
    return float(ordered[max(rank, 0)])


def windows(
    records: record.Records, begin_ns: int, seconds: float, count: int = WINDOWS
) -> tuple[Window, ...]:
    """The measured time in ``count`` equal slices, by when requests were due."""
    width = seconds / count
    edges = begin_ns + (np.arange(count + 1) * width * 1e9).astype(np.int64)
    due = np.searchsorted(records.scheduled, edges)
    ends = np.sort(records.last[records.last > 0])
    ended = np.searchsorted(ends, edges, side="right")
    latency = (records.last - records.scheduled) / 1e3
    good = records.outcome == record.GOOD
    has = ~np.isin(records.outcome, NO_LATENCY)
    answered = np.searchsorted(np.sort(records.last[has]), edges, side="right")
    done_good = np.searchsorted(np.sort(records.last[good]), edges, side="right")
    result = []
    for k in range(count):
        mine = slice(due[k], due[k + 1])
        values = np.sort(latency[mine][has[mine]])
        result.append(
            Window(
                start_s=k * width,
                offered=float(due[k + 1] - due[k]) / width,
                completed=float(answered[k + 1] - answered[k]) / width,
                good=float(done_good[k + 1] - done_good[k]) / width,
                p50_us=nearest_rank(values, 0.5),
                p99_us=nearest_rank(values, 0.99),
                inflight=int(due[k + 1] - ended[k + 1]),
            )
        )
    return tuple(result)
