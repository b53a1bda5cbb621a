"""Figures of a benchmark as lines, drawn the same way for every benchmark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from loadtest.plots import ACCENT, GRID, INK, QUIET, WARN, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import click

    from loadtest.bench.models import Line

KEPT = "lines"
_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")
_ROW_IN, _PANEL_IN = 0.34, 0.9


def keep(ctx: click.Context, lines: Sequence[Line]) -> None:
    """Leave the figures for ``--plot``, which every benchmark has from its group."""
    if isinstance(ctx.obj, dict):
        ctx.obj[KEPT] = list(lines)


def limit_of(line: Line) -> float | None:
    """The number in a limit such as ``<= 9 us`` or ``at most 200 ns``.

    >>> from loadtest.bench.models import Line
    >>> limit_of(Line("s", "w", 1.0, "us", "<= 1,200 us"))
    1200.0
    """
    found = _NUMBER.search(line.limit)
    return float(found[0].replace(",", "")) if found else None


def panels(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines that share an axis: one section and one unit, in the order of their first."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line.section, line.unit), []).append(line)
    return list(found.values())


def plot_lines(name: str, lines: Sequence[Line], path: Path) -> None:
    """One panel of bars per section and unit, with the limits as marks.

    Args:
        name: of the benchmark, for the title.
        lines: its figures; at least one.
        path: PNG to write.
    """
    drawn = panels(lines)
    heights = [_PANEL_IN + _ROW_IN * len(panel) for panel in drawn]
    figure, _ = new_figure(1, 1, 10, sum(heights) + 0.4)
    figure.clear()
    axes = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, drawn, strict=True):
        _bars(axis, panel)
    figure.suptitle(f"interlock bench {name}", x=0.01, ha="left", fontsize=11, color=INK)
    figure.savefig(path)


def _bars(axis: Any, panel: Sequence[Line]) -> None:
    from matplotlib.ticker import FuncFormatter

    section, unit = panel[0].section, panel[0].unit
    values = [line.value for line in panel]
    places = range(len(panel))
    bars = axis.barh(places, values, color=ACCENT, height=0.6)
    axis.bar_label(bars, [f"{v:,.4g}" if v < 1e4 else f"{v:,.0f}" for v in values], padding=4,
                   fontsize=9, color=INK)  # fmt: skip
    limits = [limit_of(line) for line in panel]
    for place, limit in zip(places, limits, strict=True):
        if limit is not None:
            axis.plot([limit, limit], [place - 0.42, place + 0.42], color=WARN, linewidth=2)
    if any(limit is not None for limit in limits):
        axis.plot([], [], color=WARN, linewidth=2, label="limit")
        axis.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=INK)
    known = [*values, *(limit for limit in limits if limit is not None)]
    positive = [value for value in known if value > 0]
    if positive and max(positive) > 100 * min(positive):
        axis.set_xscale("log")
        axis.set_xlim(min(positive) / 2, max(positive) * 4)
    else:
        axis.set_xlim(min(0.0, *known), max(*known, 0.0) * 1.2 or 1.0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_yticks(list(places), [line.what for line in panel])
    axis.set_ylim(len(panel) - 0.4, -0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines["left"].set_color(QUIET)
    axis.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=INK, labelsize=9)
    axis.set_title(f"{section}, {unit}", loc="left", fontsize=10, color=INK)
