"""A knee in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest.show import show_time, wide_console

if TYPE_CHECKING:
    from loadtest.knee import Knee, Probe


def show_probe(probe: Probe) -> str:
    """One line while the search goes on."""
    word = "holds" if probe.holds else "fails" if probe.sound else "unsound"
    why = f"   {probe.why}" if probe.why else ""
    return (
        f"{probe.phase:8} {probe.rate:10,.0f}/s  p50 {show_time(probe.p50_us):>9}  "
        f"p99 {show_time(probe.p99_us):>9}  {word}{why}"
    )


def _fullest(probe: Probe) -> str:
    """The busiest process of a probe."""
    uses = probe.binding.uses if probe.binding else ()
    if not uses:
        return "-"
    top = max(uses, key=lambda use: use.busiest)
    return f"{top.name} {top.busiest:.0%}"


def show_knee(knee: Knee) -> None:
    """The curve and the answer."""
    console = wide_console()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in (
        "rate/s",
        "good/s",
        "p50",
        "p99",
        "certified",
        "CPU us",
        "audit lag",
        "fullest",
        "",
    ):
        table.add_column(name, justify="left" if name in {"", "fullest"} else "right")
    for probe in sorted(knee.probes, key=lambda probe: probe.rate):
        table.add_row(
            f"{probe.rate:,.0f}", f"{probe.good_rate:,.0f}", show_time(probe.p50_us),
            show_time(probe.p99_us), show_time(probe.p99_bound_us),
            "-" if probe.cpu_us is None else f"{probe.cpu_us:.0f}",
            "-" if probe.lag_s is None else f"{probe.lag_s:.1f} s", _fullest(probe),
            Text("holds", style="green") if probe.holds else Text("fails", style="red"),
        )  # fmt: skip
    answer = Text()
    word = "confirmed" if knee.confirmed else "not confirmed"
    answer.append(
        f"knee {knee.rate:,.0f} requests/s ({word}; between {knee.low:,.0f} and {knee.high:,.0f}) "
        f"for {', '.join(knee.thresholds)}\n",
        style="bold",
    )
    if knee.binding is not None:
        answer.append(f"binding resource: {knee.binding.resource}", style="bold")
        answer.append(f" - {knee.binding.words}\n")
    if knee.kept_up is not None and knee.kept_up < knee.rate:
        answer.append(
            f"the evidence keeps up only to {knee.kept_up:,.0f}/s: above it the spool fills while "
            "the load lasts\n", style="yellow",
        )  # fmt: skip
    if knee.note:
        answer.append(f"{knee.note}\n", style="yellow")
    if not knee.monotone:
        answer.append("not monotone: a higher rate held where a lower one failed\n", style="yellow")
    if knee.local:
        answer.append("LOCAL: generator and server share cores; take it as a lower bound\n",
                      style="yellow")  # fmt: skip
    label = " LOCAL" if knee.local else ""
    console.print(Panel(Group(table, answer), title=f"interlock loadtest knee{label}"))
