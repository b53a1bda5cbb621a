"""What is shown while a run lasts, and the early end of one that already failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from loadtest import record
from loadtest.show import show_time
from loadtest.statistics import NO_LATENCY, nearest_rank
from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from types import TracebackType

    from loadtest.plan import Plan
    from loadtest.record import Records

_WINDOW_NS = 2_000_000_000
_ABORT_SAMPLES = 1000
_EVERY_NS = 250_000_000


class Watch:
    """A live line in the terminal; called with the records a few times per second.

    Attributes:
        aborted: the threshold that ended the run early, or empty.
    """

    def __init__(
        self, plan: Plan, *, shown: bool = True, abort_after_s: float | None = None
    ) -> None:
        load = plan.load
        self._plan = plan
        self._total_s = load.warmup_s + load.measured_s
        self._abort_after_s = abort_after_s
        self._thresholds = [
            found
            for found in map(parse_threshold, plan.thresholds)
            if found.metric in {"p", "err"} and not found.endpoint
        ]
        console = Console(stderr=True, highlight=False)
        self._live = Live(console=console, transient=True) if shown else None
        self.aborted = ""
        self._next = 0

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear what was shown."""
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def __call__(self, parts: list[Records], start_ns: int) -> bool:
        """Show the last two seconds; True when a threshold has already failed."""
        now = time.monotonic_ns()
        if now < max(start_ns, self._next):
            return False
        self._next = now + _EVERY_NS  # figures cost time that the generator may need
        recent = [_due_between(part, now - _WINDOW_NS, now, start_ns) for part in parts]
        seconds = (now - start_ns) / 1e9
        if self._live is not None:
            self._live.update(self._line(record.merge(recent), seconds, now))
        begin = start_ns + int(self._plan.load.warmup_s * 1e9)
        if self._abort_after_s is None or now < begin + self._abort_after_s * 1e9:
            return False
        self.aborted = self._failed([_due_between(p, begin, now, start_ns) for p in parts])
        return bool(self.aborted)

    def _line(self, recent: Records, seconds: float, now: int) -> Text:
        span = min(_WINDOW_NS / 1e9, max(seconds, 0.1))
        ended = recent.take(~np.isin(recent.outcome, NO_LATENCY))
        latency = np.sort(ended.last - ended.scheduled) / 1e3
        bad = np.count_nonzero(recent.outcome > record.GOOD)
        waiting = np.count_nonzero(recent.outcome == record.PENDING)
        share = min(seconds / self._total_s, 1.0)
        phase = "warm-up" if seconds < self._plan.load.warmup_s else "measuring"
        bar = "█" * round(share * 20) + "░" * (20 - round(share * 20))
        return Text(
            f"{bar} {seconds:5.1f}/{self._total_s:g} s {phase:9} "
            f"offered {len(recent) / span:8,.0f}/s  answered {len(ended) / span:8,.0f}/s  "
            f"p50 {show_time(nearest_rank(latency, 0.5))}  "
            f"p99 {show_time(nearest_rank(latency, 0.99))}  "
            f"in flight {waiting:,}  errors {bad:,}"
        )

    def _failed(self, parts: list[Records]) -> str:
        so_far = record.merge(parts)
        ended = so_far.take(~np.isin(so_far.outcome, NO_LATENCY))
        if len(ended) < _ABORT_SAMPLES:
            return ""
        latency = np.sort(ended.last - ended.scheduled) / 1e3
        done = so_far.outcome[so_far.outcome != record.PENDING]
        errors = float(np.mean(done != record.GOOD))
        for threshold in self._thresholds:
            value = (
                errors
                if threshold.metric == "err"
                else nearest_rank(latency, threshold.percentile) or 0.0
            )
            if threshold.op in {"<", "<="} and value > threshold.limit:
                return threshold.text
        return ""


def _due_between(part: Records, begin: int, end: int, start_ns: int) -> Records:
    """Records that were due in a span; the generator may not have added its start yet."""
    scheduled = part.scheduled
    if not len(scheduled) or 0 < scheduled[0] < start_ns:
        return part.take(np.arange(0))
    used = len(scheduled) if scheduled[-1] else int(np.count_nonzero(scheduled))
    low, high = np.searchsorted(scheduled[:used], (begin, end))
    return part.take(np.arange(low, high))
