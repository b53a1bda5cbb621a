"""Plots of the benchmarks; matplotlib without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.plots import ACCENT, INK, QUIET, new_figure

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.bench.rules import RulesReport
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


def plot_rules(report: RulesReport, path: Path) -> None:
    """Time of one decision against the number of rules, both on logarithmic axes."""
    figure, axes = new_figure(1, 1, 9.5, 5)
    axis = axes[0, 0]
    for place, (name, values) in enumerate(report.curve.items()):
        points = [(n, v) for n, v in zip(report.sizes, values, strict=True) if v is not None]
        ours = place == 0
        axis.plot(
            [n for n, _ in points], [v for _, v in points],
            marker="o", markersize=4, linewidth=2.4 if ours else 1.4,
            color=ACCENT if ours else None, label=name, zorder=3 if ours else 2,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("range rules over eight features", fontsize=9, color=INK)
    axis.set_title("microseconds per decision", fontsize=10, color=INK, loc="left")
    axis.grid(visible=True, which="major", alpha=0.3)
    axis.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path)
