"""Plots of runs and knees as PNG; matplotlib without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.knee import Knee
    from loadtest.summary import Summary

INK, ACCENT, QUIET, WARN = "#1d2733", "#0b7285", "#adb5bd", "#c92a2a"
SECOND = "#e8590c"


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure with plain axes; ``axes`` is an array of shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=9)
        axis.grid(visible=True, color="#e9ecef", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def plot_knee(knee: Knee, path: Path) -> None:
    """Latency against rate, with the objective and the knee."""
    figure, axes = new_figure(1, 1, 9, 5)
    axis = axes[0, 0]
    # of several probes of one rate the line follows the last; every one is marked
    last = {probe.rate: probe for probe in knee.probes if probe.p99_us is not None}
    line = [last[rate] for rate in sorted(last)]
    for name, label, colour in (
        ("p50_us", "p50", QUIET), ("p99_us", "p99", ACCENT), ("p999_us", "p99.9", SECOND),
    ):  # fmt: skip
        points = [(p.rate, getattr(p, name) / 1e3) for p in line if getattr(p, name) is not None]
        if points:
            rates, values = zip(*points, strict=True)
            axis.plot(rates, values, color=colour, label=label, linewidth=1.6)
    for probe in knee.probes:
        if probe.p99_us is None:
            continue
        colour = ACCENT if probe.holds else WARN if probe.sound else QUIET
        axis.plot(
            probe.rate, probe.p99_us / 1e3, marker="o" if probe.holds else "x", color=colour,
            markersize=6, linestyle="none",
        )  # fmt: skip
    if any(not probe.sound for probe in knee.probes):
        axis.plot([], [], marker="x", color=QUIET, linestyle="none", label="generator was late")
    limits = [t for t in map(parse_threshold, knee.thresholds) if t.metric == "p"]
    for threshold in limits:
        axis.axhline(threshold.limit / 1e3, color=WARN, linewidth=1, linestyle="--")
        axis.annotate(
            threshold.text, (1, threshold.limit / 1e3), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=9, color=WARN,
        )  # fmt: skip
    if knee.rate:
        axis.axvline(knee.rate, color=INK, linewidth=1)
        axis.annotate(
            f"knee {knee.rate:,.0f}/s", (knee.rate, 1), xycoords=("data", "axes fraction"),
            xytext=(-5, -4), textcoords="offset points", ha="right", va="top", fontsize=10,
            color=INK,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xlabel("offered rate, requests per second", color=INK)
    axis.set_ylabel("latency from schedule, ms", color=INK)
    label = " (LOCAL: generator and server share cores)" if knee.local else ""
    axis.set_title(f"Latency against rate{label}", loc="left", fontsize=11, color=INK)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    figure.savefig(path)


def plot_run(summary: Summary, path: Path) -> None:
    """Rates and latency over time, and the percentiles with their bounds."""
    figure, axes = new_figure(1, 3, 13, 3.8)
    at = [w.start_s for w in summary.windows]
    rate, time, spread = axes[0]
    rate.step(at, [w.offered for w in summary.windows], color=QUIET, label="offered", where="post")
    rate.step(at, [w.good for w in summary.windows], color=ACCENT, label="good", where="post")
    rate.set_ylim(bottom=0)
    rate.set_title("requests per second", loc="left", fontsize=10, color=INK)
    for name, colour in (("p50_us", QUIET), ("p99_us", ACCENT)):
        values = [getattr(w, name) for w in summary.windows]
        points = [(t, v / 1e3) for t, v in zip(at, values, strict=True) if v]
        if points:
            times, heights = zip(*points, strict=True)
            time.plot(times, heights, color=colour, label=name[:3])
    time.set_yscale("log")
    time.set_title("latency from schedule, ms", loc="left", fontsize=10, color=INK)
    for axis in (rate, time):
        axis.set_xlabel("seconds", color=INK, fontsize=9)
        axis.legend(frameon=False, fontsize=9)
    known = [p for p in summary.figures.percentiles if p.corrected]
    names = [f"p{p.percentile * 100:g}" for p in known]
    spread.plot(names, [(p.corrected or 0) / 1e3 for p in known], "o-", color=ACCENT,
                label="corrected")  # fmt: skip
    spread.plot(names, [(p.uncorrected or 0) / 1e3 for p in known], "o-", color=QUIET,
                label="uncorrected")  # fmt: skip
    bounds = [(n, p.bound / 1e3) for n, p in zip(names, known, strict=True) if p.bound]
    if bounds:
        spread.plot(*zip(*bounds, strict=True), "_", color=WARN, markersize=14, label="certified")
    spread.set_yscale("log")
    spread.set_title("percentiles, ms", loc="left", fontsize=10, color=INK)
    spread.legend(frameon=False, fontsize=9)
    figure.savefig(path)
