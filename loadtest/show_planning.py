"""Capacity and savings in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest.show import wide_console

if TYPE_CHECKING:
    from loadtest.capacity import Capacity
    from loadtest.routesaving import RouteSaving


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
        f"lasts {c.spool_hours:,.1f} h without it ({d.spool_bytes / 2**30:g} GiB)\n"
    )
    for words in c.binding:
        text.append(f"gave out on a node  {words}\n")
    for note in c.notes:
        text.append(f"{note}\n", style="yellow")
    wide_console().print(Panel(text, title="interlock loadtest plan"))


def show_saving(saving: RouteSaving) -> None:
    """The table a finance officer asks for."""
    demand, mix, costs = saving.demand, saving.mix, saving.costs
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("model", "requests", "share", "model us", "request us", "measured in"):
        table.add_column(name, justify="left" if name in {"model", "measured in"} else "right")
    words = {"run": "the run", "router": "the router since its start", "package": "the package"}
    for route in saving.routes:
        numbers = ", ".join(f"v{n}" for n in mix.versions.get(route.model, ()))
        table.add_row(
            f"{route.model} {numbers}".strip(), f"{mix.models[route.model]:,.0f}",
            f"{route.share:.1%}", f"{route.model_us:.1f}", f"{route.total_us:.1f}",
            words[route.source],
        )  # fmt: skip
    if mix.rejected:
        table.add_row(
            "none (refused by a rule)", f"{mix.rejected:,.0f}", f"{mix.rejected / mix.total:.1%}",
            "0.0", f"{costs.rest_us:.1f}", "",
        )  # fmt: skip
    before, after = saving.before, saving.after
    totals = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("", f"before: all on {saving.heaviest}", "after: routed", "saved", ""):
        totals.add_column(name, justify="right" if name else "left")
    for label, form, low, high in (
        ("CPU seconds per million requests", "{:,.2f}", after.cpu_s_per_million,
         before.cpu_s_per_million),
        (f"cores for {demand.rate:,.0f}/s", "{:,.0f}", after.cores, before.cores),
        ("price per million requests", "{:,.4f}", after.per_million, before.per_million),
        ("price a month", "{:,.0f}", after.monthly, before.monthly),
        ("price a year", "{:,.0f}", 12 * after.monthly, 12 * before.monthly),
    ):  # fmt: skip
        totals.add_row(
            label, form.format(high), form.format(low), form.format(high - low),
            f"{1 - low / high:.1%}" if high else "",
        )  # fmt: skip
    text = Text(
        f"\nmix      {mix.words}\n"
        f"request  model + {costs.rest_us:.1f} us for {costs.rest}\n"
        f"price    {demand.node_price:g} per core-hour; cores for {demand.burst:g} times the "
        f"average, {demand.headroom:.0%} of each used, {demand.redundancy} spare\n",
        style="dim",
    )
    last = "cores follow from processor time, not from a knee: for latency use plan --knee"
    notes = [*costs.notes, last]
    if mix.fallback:
        notes.insert(0, f"the mix is the run's own, not that of the evidence: {mix.fallback}")
    text.append("\n".join(notes), style="not dim yellow")
    wide_console().print(
        Panel(Group(table, Text(), totals, text), title="interlock loadtest plan --by-route")
    )
