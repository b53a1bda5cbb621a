"""Who used which processor while load was sent, and which resource was full.

Reads the services that a stack's home names, else the processes that listen on the targets' ports;
the generator's processes tell their own time, and the machine's total shows what is left over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtest.environment import listeners
from loadtest.proc import cpu_seconds, tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtest.generator import Report
    from loadtest.plan import Target

FULL_PROCESS = 0.85
"""Share of a core from which one process is taken to be full."""
FULL_MACHINE = 0.92
"""Share of all cores from which the machine is."""
BUSY_WRITER = 0.3
"""Share of a core from which a writer of the evidence is at work, not waiting."""
BEHIND_SHARE = 0.05
BEHIND_LAG_S = 2.0
"""Below both the evidence is taken to keep up: it is brought over in batches."""


class Use(Struct, frozen=True):
    """Processor time of one service over a run.

    Attributes:
        name: ``router``, ``postgres``, ``shipper``, ``generator`` and so on.
        cores: all its processes together.
        busiest: share of a core that the busiest of them used.
    """

    name: str
    cores: float
    busiest: float


class Audit(Struct, frozen=True):
    """The evidence on its way to the database during a run.

    Attributes:
        at_s: when it was looked at, seconds from the first look.
        lag_s: age of the oldest record that only the node's disk had, at each look.
        waiting: how many such records there were.
        kept_per_s: records kept in the spool.
        shipped_per_s: records brought to the database.
    """

    at_s: tuple[float, ...]
    lag_s: tuple[float, ...]
    waiting: tuple[float, ...]
    kept_per_s: float
    shipped_per_s: float

    @property
    def behind_per_s(self) -> float:
        """By how much the database fell behind, records per second; 0 when it kept up."""
        if len(self.at_s) < 2 or self.lag_s[-1] < BEHIND_LAG_S:
            return 0.0
        behind = (self.waiting[-1] - self.waiting[0]) / (self.at_s[-1] - self.at_s[0])
        return behind if behind > BEHIND_SHARE * self.kept_per_s else 0.0


class Binding(Struct, frozen=True):
    """The resource that gave out.

    Attributes:
        resource: ``router``, ``shipper``, ``postgres``, ``generator``, another service's name,
            ``none`` when nothing was full, ``unknown`` when the server cannot be seen.
        words: a sentence with the figures it is based on.
        uses: who used what.
        machine_cores: busy cores of this machine, everything included; None when not known.
    """

    resource: str
    words: str
    uses: tuple[Use, ...] = ()
    machine_cores: float | None = None


class Usage:
    """Processor time of the services behind some targets, from :meth:`begin` to :meth:`end`."""

    def __init__(self, targets: Sequence[Target], services: Mapping[str, int]) -> None:
        self._listening = {pid for t in targets if t.loopback for pid in listeners(t.port)}
        self._roots = dict(services)
        groups = self._groups()
        if not any(self._listening & pids for pids in groups.values()):
            self._roots = {}  # the home's stack is not what is measured
        self._begin: dict[int, float] = {}
        self._machine = (0.0, 0.0)
        self._at = 0.0
        self.begin()

    def _groups(self) -> dict[str, set[int]]:
        found = {name: set(tree(pid)) for name, pid in self._roots.items()}
        return found or ({"router": self._listening} if self._listening else {})

    def begin(self) -> None:
        """Note the clocks."""
        pids = {pid for group in self._groups().values() for pid in group}
        self._begin = {pid: cpu_seconds(pid) for pid in pids}
        self._machine, self._at = machine_seconds(), time.monotonic()

    def end(self, reports: Sequence[Report] = ()) -> tuple[tuple[Use, ...], float | None]:
        """Uses since the beginning, and the machine's busy cores; generators tell their own."""
        spent = max(time.monotonic() - self._at, 1e-9)
        groups = self._groups()
        uses = [
            _use(name, [cpu_seconds(pid) - self._begin.get(pid, 0.0) for pid in pids], spent)
            for name, pids in groups.items()
        ]
        mine = [(r.cpu_s, r.wall_s) for r in reports if r.wall_s > 0]
        if mine:
            uses.append(
                Use("generator", sum(c for c, _ in mine) / spent, max(c / w for c, w in mine))
            )
        busy, total = machine_seconds()
        elapsed = total - self._machine[1]
        cores = os.cpu_count() or 1
        machine = (busy - self._machine[0]) / elapsed * cores if elapsed > 0 and groups else None
        return tuple(sorted(uses, key=lambda use: -use.cores)), machine


def _use(name: str, seconds: list[float], spent: float) -> Use:
    return Use(name, sum(seconds) / spent, max(seconds, default=0.0) / spent)


def machine_seconds() -> tuple[float, float]:
    """(busy, all) processor seconds of this machine since boot; stolen time counts as busy.

    Source: proc_stat(5).
    """
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return 0.0, 0.0
    ticks = [int(field) for field in line.split()[1:9]]
    rate = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / rate, sum(ticks) / rate


def bind(
    uses: Sequence[Use], machine: float | None, cores: int, audit: Audit | None, *, late: bool
) -> Binding:
    """Which resource was full.

    Args:
        uses: of the services and the generator.
        machine: busy cores of the machine, or None.
        cores: that it has.
        audit: the evidence's way, when the router tells.
        late: the generator could not keep its schedule.
    """
    given = tuple(uses)

    def found(resource: str, words: str) -> Binding:
        return Binding(resource, words, given, machine)

    served = [use for use in uses if use.name != "generator"]
    top = max(uses, key=lambda use: use.busiest, default=None)
    if top is not None and top.busiest >= FULL_PROCESS:
        return found(
            top.name, f"CPU of {top.name}: {top.busiest:.0%} of a core in its busiest process"
        )
    if machine is not None and machine >= FULL_MACHINE * cores and given:
        first = max(given, key=lambda use: use.cores)
        rest = machine - sum(use.cores for use in given)
        parts = [f"{use.name} {use.cores:.2f}" for use in given if use.cores >= 0.01]
        parts.append(f"others {max(rest, 0.0):.2f}")
        name = first.name if first.cores >= rest else "machine"
        return found(
            name, f"cores of this machine: {machine:.2f} of {cores} busy ({', '.join(parts)})"
        )
    if audit is not None and audit.behind_per_s > 0:
        name, why = _behind(served)
        return found(
            name,
            f"{name}: {audit.kept_per_s:,.0f} records/s were kept and {audit.shipped_per_s:,.0f} "
            f"reached the database{why}",
        )
    if late:
        return found("generator", "generator: it could not keep its schedule")
    if not served:
        return found("unknown", "unknown: the server's processes cannot be seen from here")
    first = max(served, key=lambda use: use.busiest)
    return found("none", f"nothing was full; the busiest was {first.name} with "
                 f"{first.busiest:.0%} of a core")  # fmt: skip


def _behind(served: Sequence[Use]) -> tuple[str, str]:
    """Who holds up the evidence, shipper or database, and a remark when neither is busy."""
    by = {use.name: use for use in served}
    shipper, postgres = by.get("shipper"), by.get("postgres")
    if postgres is not None and postgres.busiest >= BUSY_WRITER:
        if shipper is None or postgres.cores > shipper.cores:
            return "postgres", ""
    elif shipper is not None and shipper.busiest < BUSY_WRITER:
        return "shipper", "; neither was busy, so it waits or has stopped: see its log"
    return "shipper", ""
