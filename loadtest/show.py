"""The one-screen report in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from loadtest.environment import Environment
    from loadtest.resources import Binding
    from loadtest.serverside import ServerSide
    from loadtest.statistics import Figures
    from loadtest.summary import Summary

_BARS = "▁▂▃▄▅▆▇█"


def show_time(us: float | None) -> str:
    """Microseconds in the unit that reads best.

    >>> show_time(1234.5)
    '1.23 ms'
    """
    if us is None:
        return "-"
    if us < 1000:
        return f"{us:.0f} us"
    return f"{us / 1e3:.2f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the report."""
    (console or wide_console()).print(render(summary))


def wide_console() -> Console:
    """A console of at least 100 columns, so that tables in logs are not squeezed."""
    console = Console(highlight=False)
    return console if console.width >= 100 else Console(highlight=False, width=100)


def render(summary: Summary) -> RenderableType:
    """The report as one panel."""
    parts: list[RenderableType] = [_head(summary), _latency(summary), _rates(summary)]
    if len(summary.endpoints) > 1:
        parts.append(_endpoints(summary.endpoints))
    parts.append(_timeline(summary))
    if summary.server is not None:
        parts.append(_server(summary.server))
    if summary.binding is not None and summary.binding.uses:
        parts.append(_binding(summary.binding))
    parts += [Text(line) for line in agent_lines(summary)]
    parts.append(_made_on(summary.environment))
    parts.append(_verdict(summary))
    label = " LOCAL" if summary.local else ""
    kind = f"{summary.loop} loop, {summary.arrival} arrivals, {summary.profile} profile"
    return Panel(Group(*parts), title=f"interlock loadtest{label}", subtitle=kind)


def _head(summary: Summary) -> Text:
    f = summary.figures
    text = Text(f"{', '.join(summary.targets)}   {f.seconds:.1f} s measured", style="bold")
    text.append(f" after {summary.warmup_s:g} s warm-up, seed {summary.seed}", style="")
    if summary.loop != "open":
        text.append(
            "\nclosed loop: the server sets the pace, so latency under load is not shown by this",
            style="yellow",
        )
    return text


def _latency(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name, justify in (
        ("latency", "left"), ("corrected", "right"), ("certified at 99%", "right"),
        ("uncorrected", "right"),
    ):  # fmt: skip
        table.add_column(name, justify="left" if justify == "left" else "right")
    for p in summary.figures.percentiles:
        bound = (
            f"<= {show_time(p.bound)}" if p.bound is not None else f"no: need {p.needed:,} samples"
        )
        table.add_row(
            f"p{p.percentile * 100:g}", show_time(p.corrected), bound, show_time(p.uncorrected)
        )
    table.add_row("max", show_time(summary.figures.max_us), "", "")
    return table


def _rates(summary: Summary) -> Text:
    f = summary.figures
    text = Text()
    text.append(
        f"rates/s   offered {f.offered_rate:,.1f}   sent {f.sent_rate:,.1f}   "
        f"completed {f.completed_rate:,.1f}   good {f.good_rate:,.1f}   ({f.requests:,} requests)\n"
    )
    bad = {name: n for name, n in f.outcomes.items() if name != "good"}
    errors = ", ".join(f"{name} {n:,}" for name, n in bad.items()) or "none"
    text.append(f"errors    {errors}   ({f.error_share:.3%})\n", style="red" if bad else "")
    text.append(
        f"generator send lag p50 {f.lag_p50_us:.0f} us, p99 {f.lag_p99_us:.0f} us, "
        f"max {show_time(f.lag_max_us)}   cpu {summary.generator_cpu:.0%} of a core   "
        f"{summary.connections} connections"
    )
    return text


def _endpoints(endpoints: dict[str, Figures]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("endpoint", "requests", "good/s", "errors", "p50", "p99"):
        table.add_column(name, justify="left" if name == "endpoint" else "right")
    for name, f in endpoints.items():
        by = {p.percentile: p.corrected for p in f.percentiles}
        table.add_row(
            name or "-", f"{f.requests:,}", f"{f.good_rate:,.1f}", f"{f.error_share:.3%}",
            show_time(by[0.5]), show_time(by[0.99]),
        )  # fmt: skip
    return table


def agent_lines(summary: Summary) -> list[str]:
    """Each agent's share and its clock."""
    return [
        f"agent     {a.agent} sent {a.requests:,} requests; its clock is known to "
        f"{a.doubt_us:.0f} us and drifted by {a.drift_us:.0f} us"
        for a in summary.agents
    ]


def server_lines(server: ServerSide) -> list[str]:
    """Where the time of a request went, in lines of text."""
    rows = max(sum(server.models.values()), 1)
    shares = ", ".join(f"{name or 'refused'} {n / rows:.0%}" for name, n in server.models.items())
    cpu = "" if server.cpu_us is None else f", processor {server.cpu_us:.1f} us per request"
    timed = f"mean of {server.timed:,} timed requests" if server.timed else "mean per request"
    steps = "   ".join(f"{name} {us:,.1f}" for name, us in server.steps)
    lines = [f"server us {steps}   ({timed}{cpu})", f"routes    {shares}"]
    if server.audit is not None and server.audit.lag_s:
        lag = server.audit.lag_s
        lines.append(
            f"audit     {server.audit.kept_per_s:,.0f} records/s kept, "
            f"{server.audit.shipped_per_s:,.0f}/s reached the database; "
            f"lag up to {max(lag):.1f} s ({max(server.audit.waiting):,.0f} records)"
        )
    return lines


def _server(server: ServerSide) -> Text:
    text = Text("\n".join(server_lines(server)))
    if server.audit is not None and server.audit.behind_per_s:
        text.append(
            f"\nthe evidence fell behind by {server.audit.behind_per_s:,.0f} records/s: the spool "
            "fills while this load lasts", style="yellow",
        )  # fmt: skip
    return text


def _binding(binding: Binding) -> Text:
    text = Text(f"fullest   {binding.words}\n")
    text.append("cores     ")
    text.append(", ".join(f"{use.name} {use.cores:.2f}" for use in binding.uses))
    if binding.machine_cores is not None:
        text.append(f"; all of this machine {binding.machine_cores:.2f}")
    return text


def _timeline(summary: Summary) -> Text:
    values = [w.p99_us for w in summary.windows]
    known = [v for v in values if v is not None]
    if not known:
        return Text("p99 over time: no answers")
    top = max(known)
    bars = "".join(" " if v is None else _BARS[min(int(v / top * 7.999), 7)] for v in values)
    return Text(f"p99 over time {bars} up to {show_time(top)}")


def _made_on(e: Environment) -> Text:
    governor = "" if e.governor == "none" else f", governor {e.governor}"
    return Text(
        f"made on   {e.cpu}, {e.cores} cores, kernel {e.kernel}{governor}, Python {e.python}, "
        f"interlock {e.libraries.get('interlock', '?')}, plan {e.plan.removeprefix('sha256:')}",
        style="dim",
    )


def _verdict(summary: Summary) -> Text:
    text = Text()
    for judged in summary.thresholds:
        style = {"pass": "green", "fail": "red", "unknown": "yellow"}[judged.verdict]
        word = judged.verdict.upper()
        if judged.verdict == "pass" and summary.local:
            word = "HELD (LOCAL, not certified)"
        text.append(f"{word:5} {judged.text}", style=style)
        text.append(f"   {judged.why}\n" if judged.why else "\n")
    if summary.local:
        cores = ", ".join(map(str, summary.local))
        text.append(
            f"LOCAL: generator and server share core {cores}; each takes time from the other, so "
            "latencies are too high, rates too low, and no threshold is certified\n",
            style="yellow",
        )
    for reason in summary.reasons:
        text.append(f"INVALID ({reason.side}): {reason.text}\n", style="red")
    if summary.interrupted:
        text.append("INTERRUPTED: partial results\n", style="yellow")
    if summary.valid:
        text.append("VALID: no rule of measurement was broken", style="green")
    return text
