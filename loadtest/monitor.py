"""Watches a target while load is sent: its counters, its processes, how far the evidence lags."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Self

from loadtest.resources import Audit, Binding, Usage, bind
from loadtest.serverside import Counters, difference, read_server, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from loadtest.generator import Report
    from loadtest.plan import Plan
    from loadtest.serverside import Reading, ServerSide

_LAG = "interlock_audit_exposure_seconds"
_WAITING = "interlock_audit_exposed_records"
_SHIPPED = "interlock_shipper_records_total"
EVERY_S = 1.0
"""Between two looks: a scrape costs the router about a millisecond."""


class Monitor:
    """``with Monitor(plan, services) as monitor: ... monitor.found(reports)``.

    Args:
        plan: targets, and how to ask the first for its counters.
        services: names and process ids of a stack on this machine; may be empty.
    """

    def __init__(self, plan: Plan, services: Mapping[str, int]) -> None:
        self._target, self._request = plan.targets[0], plan.metrics
        self._usage = Usage(plan.targets, services)
        self._looks: list[tuple[float, Counters]] = []
        self._before: Reading | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._before = read_server(self._target, self._request) if self._request else None
        self._usage.begin()
        if self._before is not None:
            self._note(self._before)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no longer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(EVERY_S):
            reading = read_server(self._target, self._request)
            if reading is not None:
                self._note(reading)

    def _note(self, reading: Reading) -> None:
        self._looks.append((time.monotonic(), reading.counters))

    def found(
        self, reports: Sequence[Report], *, late: bool = False
    ) -> tuple[ServerSide | None, Binding]:
        """What happened since the beginning.

        Args:
            reports: of the generator's processes.
            late: they could not keep their schedule.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        uses, machine = self._usage.end(reports)
        after = None
        if self._before is not None:
            after = read_server(self._target, self._request)
        if after is not None:
            self._note(after)
        audit = audit_of(self._looks)
        binding = bind(uses, machine, os.cpu_count() or 1, audit, late=late)
        router = next((use.busiest for use in uses if use.name == "router"), None)
        return difference(self._before, after, busy=router, audit=audit), binding


def audit_of(looks: Sequence[tuple[float, Counters]]) -> Audit | None:
    """The evidence's way from counters seen at some times; None without a shipper."""
    kept = [
        (at, counters)
        for at, counters in looks
        if {_LAG, _WAITING, _SHIPPED} <= {name for name, _ in counters}
    ]
    if len(kept) < 2:
        return None
    (first, before), (last, after) = kept[0], kept[-1]
    spent = max(last - first, 1e-9)

    def rate(name: str) -> float:
        return max(total(after, name) - total(before, name), 0.0) / spent

    return Audit(
        tuple(at - first for at, _ in kept),
        tuple(
            max(value for (name, _), value in counters.items() if name == _LAG)
            for _, counters in kept
        ),
        tuple(total(counters, _WAITING) for _, counters in kept),
        rate("interlock_audit_records_total"),
        rate(_SHIPPED),
    )
