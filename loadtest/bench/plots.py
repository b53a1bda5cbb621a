"""Plots of the benchmarks; matplotlib without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.plots import ACCENT, INK, QUIET, new_figure

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.bench.serve import ServeReport


def plot_serve(report: ServeReport, path: Path) -> None:
    """CPU per request and requests per second, one bar per server."""
    results = report.results
    figure, axes = new_figure(1, 2, 11, 1.6 + 0.5 * len(results))
    names = [result.server for result in results]
    colours = [ACCENT] + [QUIET] * (len(results) - 1)
    for axis, values, title, unit in (
        (axes[0, 0], [r.cpu_us for r in results], "CPU per request, microseconds", "{:.1f}"),
        (axes[0, 1], [r.requests_per_s for r in results], "requests per second", "{:,.0f}"),
    ):
        bars = axis.barh(names, values, color=colours, height=0.6)
        axis.bar_label(bars, [unit.format(v) for v in values], padding=4, fontsize=9, color=INK)
        axis.set_title(title, fontsize=10, color=INK, loc="left")
        axis.invert_yaxis()
        axis.set_xlim(0, max(values) * 1.18)
    figure.suptitle(
        f"One worker on one core, client on another ({report.environment.cpu}, "
        f"medians of {results[0].runs} runs)",
        fontsize=10, color=INK,
    )  # fmt: skip
    figure.savefig(path)
