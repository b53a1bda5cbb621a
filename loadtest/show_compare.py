"""A comparison in the terminal, as markdown and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtest.show import wide_console

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.compare import Comparison

_STYLES = {"better": "green", "worse": "red", "equivalent": "", "inconclusive": "yellow"}


def _made_of(found: Comparison) -> str:
    pairs = ", in pairs" if found.paired else ""
    return (
        f"{found.runs_a} against {found.runs_b} {found.kind}s{pairs}, "
        f"equal within {found.margin:.0%}"
    )


def show_comparison(found: Comparison) -> None:
    """Every figure with its interval and the overall verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("figure", "a", "b", "b / a", "interval", "verdict"):
        table.add_column(name, justify="left" if name in {"figure", "verdict"} else "right")
    for f in found.figures:
        word = f.verdict + (f" (about {f.more_runs} more per side)" if f.more_runs else "")
        table.add_row(
            f.name, f"{f.a:,.1f}", f"{f.b:,.1f}", f"{f.ratio:.3f}", f"{f.low:.3f} - {f.high:.3f}",
            Text(word, style=_STYLES[f.verdict]),
        )  # fmt: skip
    end = Text(f"{found.verdict}: {_made_of(found)}", style="bold " + _STYLES[found.verdict])
    notes = Text("".join(f"\n{note}" for note in found.notes), style="yellow")
    wide_console().print(Panel(Group(table, end, notes), title="interlock loadtest compare"))


def markdown_comparison(found: Comparison) -> str:
    """For a pull request."""
    lines = [
        f"### Load test: **{found.verdict}** ({_made_of(found)})",
        "",
        "| figure | a | b | b / a | interval | verdict |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {f.name} | {f.a:,.1f} | {f.b:,.1f} | {f.ratio:.3f} | {f.low:.3f} - {f.high:.3f} "
            f"| {f.verdict} |"
            for f in found.figures
        ),
        "",
        *(f"- {note}" for note in found.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def draw_comparison(axis: Any, found: Comparison) -> bool:
    """Each figure's ratio with its interval, against the band that counts as equal."""
    from loadtest.plots import ACCENT, GRID, INK, QUIET, WARN

    colours = {"better": "#2b8a3e", "worse": WARN, "equivalent": ACCENT, "inconclusive": QUIET}
    axis.axvspan(1 - found.margin, 1 + found.margin, color=GRID, zorder=0)
    axis.axvline(1, color=INK, linewidth=1)
    for place, f in enumerate(found.figures):
        colour = colours[f.verdict]
        axis.plot([f.low, f.high], [place, place], color=colour, linewidth=3)
        axis.plot(f.ratio, place, "o", color=colour, markersize=8)
        axis.annotate(
            f"{f.ratio:.3f}  {f.verdict}", (1.01, place), xycoords=("axes fraction", "data"),
            va="center", fontsize=9, color=colour if f.verdict != "inconclusive" else INK,
        )  # fmt: skip
    axis.set_yticks(range(len(found.figures)), [f.name for f in found.figures])
    axis.set_ylim(len(found.figures) - 0.5, -0.5)
    ends = [end for f in found.figures for end in (f.low, f.high)]
    reach = 1.15 * max(2 * found.margin, *(abs(end - 1) for end in ends))
    axis.set_xlim(max(1 - reach, 0), 1 + reach)
    axis.set_xlabel("b / a; the band counts as equal", fontsize=9, color=INK)
    axis.set_title(f"{found.verdict}: {_made_of(found)}", loc="left", fontsize=10, color=INK)
    return True


def height_in(found: Comparison) -> float:
    """Inches that the drawing needs."""
    return 1.5 + 0.5 * len(found.figures)


def plot_comparison(found: Comparison, path: Path) -> None:
    """The same as a PNG."""
    from loadtest.plots import new_figure

    figure, axes = new_figure(1, 1, 9, height_in(found))
    draw_comparison(axes[0, 0], found)
    figure.savefig(path)
