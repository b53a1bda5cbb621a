"""How long a batch may wait for company: not at all when there is none to expect.

While a batch runs, arrivals queue up by themselves; that is the main source of batches and costs
no waiting. Beyond it, a short wait pays only when calls arrive faster than a run takes. The
window estimates the gap between arrivals and waits for at most a few of them.
"""

from __future__ import annotations

SMOOTHING = 0.1
COMPANY = 3.0  # arrivals worth waiting for
START_GAP_S = 1.0


class AdaptiveWindow:
    """Estimates arrivals and answers how long to wait.

    Attributes:
        gap_s: smoothed time between arrivals.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._last: float | None = None
        self.gap_s = START_GAP_S

    def arrived(self, now: float) -> None:
        """A call arrived at this time (seconds of any steady clock)."""
        if self._last is not None:
            gap = min(max(now - self._last, 0.0), START_GAP_S)
            self.gap_s += SMOOTHING * (gap - self.gap_s)
        self._last = now

    def wait_s(self, queued: int, cost_s: float) -> float:
        """Seconds to wait before running ``queued`` calls, 0 to run at once.

        Args:
            queued: calls waiting.
            cost_s: what one run costs; company is worth waiting for only within that time.
        """
        if queued >= COMPANY or self.gap_s > cost_s:
            return 0.0
        return min(self._max_wait_s, COMPANY * self.gap_s, cost_s)
