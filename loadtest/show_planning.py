"""Capacity, savings and comparisons in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest.show import wide_console

if TYPE_CHECKING:
    from loadtest.capacity import Capacity, Demand, RouteSaving
    from loadtest.compare import Comparison


def show_capacity(c: Capacity) -> None:
    """Nodes, price and what they stand on."""
    d = c.demand
    text = Text()
    text.append(f"{c.nodes} nodes", style="bold")
    text.append(f" for {d.rate:,.0f} requests/s at {', '.join(c.thresholds)}")
    text.append("  (extrapolated from fewer nodes)\n" if c.extrapolated else "\n", style="yellow")
    text.append(
        f"counted per node    {c.per_node:,.0f}/s, the lower end of what was measured\n"
        f"peak                {d.rate * d.burst:,.0f}/s ({d.burst:g} times the average), "
        f"{d.headroom:.0%} of the knee used, {d.redundancy} spare\n"
        f"after losing {d.redundancy}      "
        f"{'still below the knee' if c.survives else 'OVERLOADED'} "
        "at the peak\n"
        f"average load        {c.used_share:.0%} of the knee with all nodes up\n"
        f"price               {c.per_million:,.3f} per million predictions, "
        f"{c.monthly:,.0f} a month at {d.node_price:g} per node-hour\n"
        f"audit               {c.rows_per_s:,.0f} rows/s into Postgres at the peak; a node's spool "
        f"lasts {c.spool_hours:,.1f} h without it\n"
    )
    for note in c.notes:
        text.append(f"{note}\n", style="yellow")
    wide_console().print(Panel(text, title="interlock loadtest plan"))


def show_saving(saving: RouteSaving, demand: Demand, source: str) -> None:
    """The table a finance officer asks for."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("model", "share", "model us", "request us"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for route in saving.routes:
        table.add_row(
            route.model, f"{route.share:.1%}", f"{route.model_us:.1f}", f"{route.total_us:.1f}"
        )
    totals = Table(box=None, pad_edge=False, padding=(1, 3, 0, 0))
    for name in ("", f"all on {saving.heaviest}", "routed", "saved"):
        totals.add_column(name, justify="right" if name else "left")
    totals.add_row(
        "processor us per prediction", f"{saving.before_us:.1f}", f"{saving.after_us:.1f}",
        f"{saving.saved_share:.1%}",
    )  # fmt: skip
    totals.add_row(
        f"cores for {demand.rate:,.0f}/s", str(saving.before_nodes), str(saving.after_nodes),
        str(saving.before_nodes - saving.after_nodes),
    )  # fmt: skip
    totals.add_row(
        "price a month", f"{saving.before_monthly:,.0f}", f"{saving.after_monthly:,.0f}",
        f"{saving.before_monthly - saving.after_monthly:,.0f}",
    )  # fmt: skip
    note = Text(
        f"mix from {source}; model times as the router measured them in the run; "
        f"{demand.node_price:g} per core-hour; cores are computed from processor time, not from a "
        "knee: use plan --knee for latency",
        style="yellow",
    )
    wide_console().print(
        Panel(Group(table, totals, note), title="interlock loadtest plan --by-route")
    )


def show_comparison(found: Comparison) -> None:
    """Every figure with its interval and the overall verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("figure", "a", "b", "b / a", "95% interval", "verdict"):
        table.add_column(name, justify="left" if name in {"figure", "verdict"} else "right")
    styles = {"better": "green", "worse": "red", "equivalent": "", "inconclusive": "yellow"}
    for f in found.figures:
        word = f.verdict + (f" (about {f.more_runs} more runs per side)" if f.more_runs else "")
        table.add_row(
            f.name, f"{f.a:,.1f}", f"{f.b:,.1f}", f"{f.ratio:.3f}", f"{f.low:.3f} - {f.high:.3f}",
            Text(word, style=styles[f.verdict]),
        )  # fmt: skip
    end = Text(
        f"{found.verdict}: {found.runs_a} against {found.runs_b} runs, "
        f"equal within {found.margin:.0%}",
        style="bold " + styles[found.verdict],
    )
    notes = Text("".join(f"\n{note}" for note in found.notes), style="yellow")
    wide_console().print(Panel(Group(table, end, notes), title="interlock loadtest compare"))
