"""Plans as rows of text, the same for terminal, markdown and page; and the saving as a picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from loadtest.htmlparts import facts, notes, section, table
from loadtest.plots import ACCENT, INK, QUIET, STEPS, new_figure, svg

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.capacity import Capacity, Demand
    from loadtest.routesaving import RouteSaving

SOURCES = {"run": "the run", "router": "the router since its start", "package": "the package"}
WARM_SHARE = 0.5
ROUTE_HEAD = ("model", "requests", "share", "model us", "request us", "measured in")


def _money(demand: Demand) -> str:
    return f"{demand.node_price:g} {demand.currency}".strip()


def capacity_title(c: Capacity) -> str:
    """The answer in one line."""
    beyond = " (extrapolated from fewer nodes)" if c.extrapolated else ""
    return f"{c.nodes} nodes for {c.demand.rate:,.0f} requests/s at {', '.join(c.thresholds)}" + (
        beyond
    )


def capacity_rows(c: Capacity) -> list[tuple[str, str]]:
    """What it stands on."""
    d = c.demand
    return [
        ("counted per node", f"{c.per_node:,.0f}/s, the lower end of what was measured"),
        ("peak", (f"{d.rate * d.burst:,.0f}/s ({d.burst:g} times the average), {d.headroom:.0%} of "
         f"the knee used, {d.redundancy} spare")),
        (f"after losing {d.redundancy}",
         f"{'still below the knee' if c.survives else 'OVERLOADED'} at the peak"),
        ("average load", f"{c.used_share:.0%} of the knee with all nodes up"),
        ("price", (f"{c.per_million:,.3f} per million predictions, {c.monthly:,.0f} a month at "
         f"{_money(d)} per node-hour")),
        ("audit", (f"{c.rows_per_s:,.0f} rows/s into Postgres at the peak; a node's spool of "
         f"{d.spool_bytes / 2**30:g} GiB lasts {c.spool_hours:,.1f} h without it")),
        *(("gave out on a node", words) for words in c.binding),
    ]  # fmt: skip


def route_rows(saving: RouteSaving) -> list[tuple[str, ...]]:
    """A row per model, the heaviest first, and one for what rules refuse."""
    mix, costs = saving.mix, saving.costs
    rows: list[tuple[str, ...]] = []
    for route in saving.routes:
        numbers = ", ".join(f"v{n}" for n in mix.versions.get(route.model, ()))
        rows.append(
            (
                f"{route.model} {numbers}".strip(), f"{mix.models[route.model]:,.0f}",
                f"{route.share:.1%}", f"{route.model_us:.1f}", f"{route.total_us:.1f}",
                SOURCES[route.source],
            )
        )  # fmt: skip
    if mix.rejected:
        rows.append(
            ("none (refused by a rule)", f"{mix.rejected:,.0f}", f"{mix.rejected / mix.total:.1%}",
             "0.0", f"{costs.rest_us:.1f}", "")
        )  # fmt: skip
    return rows


def saving_head(saving: RouteSaving) -> tuple[str, ...]:
    """Heads of the table that a finance officer asks for."""
    return ("", f"before: all on {saving.heaviest}", "after: routed", "saved", "")


def saving_rows(saving: RouteSaving) -> list[tuple[str, ...]]:
    """Before, after, saved, as amount and share."""
    before, after = saving.before, saving.after
    unit = f", {saving.demand.currency}" if saving.demand.currency else ""
    rows: list[tuple[str, ...]] = []
    for label, form, high, low in (
        ("CPU seconds per million requests", "{:,.2f}", before.cpu_s_per_million,
         after.cpu_s_per_million),
        (f"cores for {saving.demand.rate:,.0f}/s", "{:,.0f}", before.cores, after.cores),
        (f"price per million requests{unit}", "{:,.4f}", before.per_million, after.per_million),
        (f"price a month{unit}", "{:,.0f}", before.monthly, after.monthly),
        (f"price a year{unit}", "{:,.0f}", 12 * before.monthly, 12 * after.monthly),
    ):  # fmt: skip
        share = f"{1 - low / high:.1%}" if high else ""
        rows.append((label, *(form.format(v) for v in (high, low, high - low)), share))
    return rows


def saving_basis(saving: RouteSaving) -> list[tuple[str, str]]:
    """What the table was computed from."""
    d = saving.demand
    return [
        ("mix", saving.mix.words),
        ("request", f"model + {saving.costs.rest_us:.1f} us for {saving.costs.rest}"),
        ("price", (f"{_money(d)} per core-hour; cores for {d.burst:g} times the average, "
         f"{d.headroom:.0%} of each used, {d.redundancy} spare")),
    ]  # fmt: skip


def saving_notes(saving: RouteSaving) -> list[str]:
    """What a reader should know."""
    last = "cores follow from processor time, not from a knee: for latency use plan --knee"
    fallback = saving.mix.fallback
    first = [f"the mix is the run's own, not that of the evidence: {fallback}"] if fallback else []
    share = next(route.share for route in saving.routes if route.model == saving.heaviest)
    cold = (
        f"before is an upper estimate: {saving.heaviest} answered {share:.0%} of the requests, "
        "and a call costs less when it answers all (its memory is warm)"
    )
    return [*first, *saving.costs.notes, *([cold] if share < WARM_SHARE else []), last]


def markdown_capacity(c: Capacity) -> str:
    """For a document."""
    rows = [f"| {name} | {text} |" for name, text in capacity_rows(c)]
    lines = [f"### {capacity_title(c)}", "", "| | |", "|---|---|", *rows, ""]
    return "\n".join(lines + [f"- {note}" for note in c.notes]) + "\n"


def markdown_saving(saving: RouteSaving) -> str:
    """For a document."""
    lines = [
        f"### Routing saves {saving.saved_share:.1%} of the processor time",
        "",
        _row(saving_head(saving)),
        "|---|---:|---:|---:|---:|",
        *map(_row, saving_rows(saving)),
        "",
        _row(ROUTE_HEAD),
        "|---|---:|---:|---:|---:|---|",
        *map(_row, route_rows(saving)),
        "",
        *(f"- {name}: {text}" for name, text in saving_basis(saving)),
        *(f"- {note}" for note in saving_notes(saving)),
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def html_capacity(c: Capacity) -> str:
    """Its part of the page."""
    return section(
        "Plan",
        f"<p><b>{escape(capacity_title(c))}</b></p>{facts(capacity_rows(c))}{notes(c.notes)}",
    )


def html_saving(saving: RouteSaving) -> str:
    """Its part of the page."""
    basis = facts(saving_basis(saving))
    plot = svg(lambda axis: draw_saving(axis, saving), 9, 2.4)
    return section(
        "What routing saves",
        f"{table(saving_head(saving), saving_rows(saving))}<figure>{plot}</figure>"
        f"{table(ROUTE_HEAD, route_rows(saving))}{basis}{notes(saving_notes(saving))}",
    )


def draw_saving(axis: Any, saving: RouteSaving) -> bool:
    """Processor seconds per million requests, before and after, by what they are spent on."""
    rest = saving.costs.rest_us
    before, after = saving.before.cpu_us, saving.after.cpu_us
    left = [0.0, 0.0]
    parts: list[tuple[str, float, float]] = [("everything but models", rest, rest)]
    for route in saving.routes:
        mine = route.share * route.model_us
        all_of_it = before - rest if route.model == saving.heaviest else 0.0
        parts.append((route.model, all_of_it, mine))
    colours = [QUIET, *STEPS[1:]]
    for number, (name, high, low) in enumerate(parts):
        axis.barh([0, 1], [high, low], left=left, height=0.55, label=name,
                  color=colours[number % len(colours)])  # fmt: skip
        left = [left[0] + high, left[1] + low]
    for place, value in ((0, before), (1, after)):
        axis.annotate(f"{value:,.1f}", (value, place), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=9, color=INK)  # fmt: skip
    axis.set_yticks([0, 1], [f"all on {saving.heaviest}", "routed"])
    axis.set_ylim(1.6, -0.6)
    axis.set_xlim(0, before * 1.15)
    axis.grid(visible=False, axis="y")
    axis.set_title(
        f"CPU seconds per million requests: {saving.saved_share:.1%} saved", loc="left",
        fontsize=10, color=INK,
    )  # fmt: skip
    axis.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=3, loc="upper left",
                bbox_to_anchor=(0, -0.12))  # fmt: skip
    axis.spines["left"].set_color(ACCENT if saving.saved_share > 0 else QUIET)
    return True


def plot_saving(saving: RouteSaving, path: Path) -> None:
    """The same as a PNG."""
    figure, axes = new_figure(1, 1, 9, 2.6)
    draw_saving(axes[0, 0], saving)
    figure.savefig(path)
