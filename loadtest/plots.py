"""Plots of runs and knees: PNG files for documents, SVG for the page; matplotlib without a display.

Every drawing takes one axis, so that a picture of several and a page of single ones share it.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from loadtest.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadtest.knee import Knee
    from loadtest.summary import Summary

INK, ACCENT, QUIET, WARN = "#1d2733", "#0b7285", "#adb5bd", "#c92a2a"
SECOND, GRID, FRAME = "#e8590c", "#e9ecef", "#000000"
STEPS = ("#adb5bd", "#4c6ef5", "#15aabf", "#e8590c", "#7048e8", "#2b8a3e", "#c2255c")
"""Colours of the steps of a request, in their order."""
VARIABLES = {
    INK: "ink", ACCENT: "accent", QUIET: "soft", WARN: "bad", GRID: "grid", FRAME: "ink",
}  # fmt: skip
"""Colours that the page sets itself, light or dark."""


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
        axis.grid(visible=True, color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def svg(draw: Callable[[Any], bool], width: float = 5.6, height: float = 3.2) -> str:
    """One drawing as an SVG element whose colours are variables of the page; empty without data.

    Args:
        draw: draws on an axis and says whether there was anything to draw.
        width: inches; the page scales it.
        height: inches.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif",
                         "svg.hashsalt": "interlock"}):  # fmt: skip
        figure, axes = new_figure(1, 1, width, height)
        if not draw(axes[0, 0]):
            return ""
        target = io.BytesIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    text = target.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # sizes of the element would win over the page's; its viewBox keeps the proportions
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, name in VARIABLES.items():
        text = text.replace(f": {colour}", f": var(--{name})")
    return _inherit_fill(text)


def _inherit_fill(text: str) -> str:
    """Text without a colour of its own takes the page's; fonts are the page's, too."""
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    return re.sub(r'<text style="(?![^"]*fill)', '<text style="fill: var(--ink); ', text)


def _title(axis: Any, words: str) -> None:
    axis.set_title(words, loc="left", fontsize=10, color=INK)


def _legend(axis: Any) -> None:
    axis.legend(frameon=False, fontsize=9, labelcolor=INK)


def draw_rates(axis: Any, summary: Summary) -> bool:
    """Offered and good requests over time."""
    at = [w.start_s for w in summary.windows]
    if not at:
        return False
    axis.step(at, [w.offered for w in summary.windows], color=QUIET, label="offered",
              where="post", linewidth=2.4)  # fmt: skip
    axis.step(at, [w.good for w in summary.windows], color=ACCENT, label="good", where="post")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("seconds", color=INK, fontsize=9)
    _title(axis, "requests per second")
    _legend(axis)
    return True


def draw_latency(axis: Any, summary: Summary) -> bool:
    """Median and p99 over time, from schedule."""
    drawn = False
    for name, colour in (("p50_us", QUIET), ("p99_us", ACCENT)):
        points = [(w.start_s, getattr(w, name) / 1e3) for w in summary.windows if getattr(w, name)]
        if points:
            times, heights = zip(*points, strict=True)
            axis.plot(times, heights, color=colour, label=name[:3])
            drawn = True
    if not drawn:
        return False
    _draw_limits(axis, summary.thresholds and [j.text for j in summary.thresholds])
    axis.set_yscale("log")
    axis.set_xlabel("seconds", color=INK, fontsize=9)
    _plain_ms(axis)
    _title(axis, "latency from schedule, ms")
    _legend(axis)
    return True


def draw_percentiles(axis: Any, summary: Summary) -> bool:
    """Corrected and uncorrected percentiles, and the certified bounds."""
    known = [p for p in summary.figures.percentiles if p.corrected]
    if not known:
        return False
    names = [f"p{p.percentile * 100:g}" for p in known]
    axis.plot(names, [(p.uncorrected or 0) / 1e3 for p in known], "o-", color=QUIET,
              label="uncorrected")  # fmt: skip
    axis.plot(names, [(p.corrected or 0) / 1e3 for p in known], "o-", color=ACCENT,
              label="corrected")  # fmt: skip
    bounds = [(n, p.bound / 1e3) for n, p in zip(names, known, strict=True) if p.bound]
    if bounds:
        axis.plot(*zip(*bounds, strict=True), "_", color=WARN, markersize=14,
                  label="certified bound")  # fmt: skip
    axis.set_yscale("log")
    _plain_ms(axis)
    _title(axis, "percentiles, ms")
    _legend(axis)
    return True


def draw_steps(axis: Any, summary: Summary) -> bool:
    """Mean time of each step of a request inside the router."""
    server = summary.server
    steps = [(name, us) for name, us in server.steps if name != "queue"] if server else []
    if not steps:
        return False
    names = [name for name, _ in steps]
    values = [us for _, us in steps]
    bars = axis.barh(names, values, color=STEPS[1 : len(steps) + 1], height=0.6)
    axis.bar_label(bars, [f"{v:,.1f}" for v in values], padding=4, fontsize=9, color=INK)
    axis.set_xlim(0, max(values) * 1.2 or 1)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    _title(axis, "mean time in the router, microseconds per request")
    return True


def draw_cores(axis: Any, summary: Summary) -> bool:
    """Cores that each service used."""
    binding = summary.binding
    uses = [use for use in binding.uses if use.cores >= 0.005] if binding else []
    if not uses:
        return False
    names, values = [use.name for use in uses], [use.cores for use in uses]
    if binding is not None and binding.machine_cores is not None:
        names.append("others")
        values.append(max(binding.machine_cores - sum(values), 0.0))
    colours = [ACCENT if name == "router" else QUIET for name in names]
    bars = axis.barh(names, values, color=colours, height=0.6)
    axis.bar_label(bars, [f"{v:.2f}" for v in values], padding=4, fontsize=9, color=INK)
    axis.set_xlim(0, max(values) * 1.2)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    _title(axis, f"cores used, of {summary.environment.cores}")
    return True


def draw_lag(axis: Any, summary: Summary) -> bool:
    """How far the evidence lagged behind."""
    audit = summary.server.audit if summary.server else None
    if audit is None or len(audit.lag_s) < 2:
        return False
    axis.plot(audit.at_s, audit.lag_s, color=ACCENT, marker="o", markersize=3)
    axis.set_ylim(bottom=0, top=max(*audit.lag_s, 1.0) * 1.1)
    axis.set_xlabel("seconds", color=INK, fontsize=9)
    _title(axis, "audit lag: age of the oldest record not in the database, s")
    return True


DRAWINGS = (draw_rates, draw_latency, draw_percentiles, draw_steps, draw_cores, draw_lag)


def plot_run(summary: Summary, path: Path) -> None:
    """Everything about a run in one picture; what it has no data for is left out."""
    figure, axes = new_figure(2, 3, 14, 7)
    free = list(axes.flat)
    for draw in DRAWINGS:
        if draw(free[0], summary):
            free.pop(0)
    for axis in free:
        axis.remove()
    figure.savefig(path)


def draw_knee(axis: Any, knee: Knee) -> bool:
    """Latency against rate, with the objective and the knee."""
    # of several probes of one rate the line follows the last; every one is marked
    last = {probe.rate: probe for probe in knee.probes if probe.p99_us is not None}
    line = [last[rate] for rate in sorted(last)]
    if not line:
        return False
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
    _draw_limits(axis, knee.thresholds)
    if knee.rate:
        axis.axvline(knee.rate, color=INK, linewidth=1)
        right = knee.rate < (line[0].rate + line[-1].rate) / 2
        axis.annotate(
            f"knee {knee.rate:,.0f}/s", (knee.rate, 0), xycoords=("data", "axes fraction"),
            xytext=(5 if right else -5, 5), textcoords="offset points",
            ha="left" if right else "right", va="bottom", fontsize=10, color=INK,
        )  # fmt: skip
    axis.set_yscale("log")
    _plain_ms(axis)
    axis.set_xlabel("offered rate, requests per second", color=INK)
    axis.set_ylabel("latency from schedule, ms", color=INK)
    label = " (LOCAL: generator and server share cores)" if knee.local else ""
    axis.set_title(f"Latency against rate{label}", loc="left", fontsize=11, color=INK)
    axis.legend(frameon=False, fontsize=9, loc="upper left", labelcolor=INK)
    return True


def plot_knee(knee: Knee, path: Path) -> None:
    """The curve as a PNG."""
    figure, axes = new_figure(1, 1, 9, 5)
    draw_knee(axes[0, 0], knee)
    figure.savefig(path)


def _draw_limits(axis: Any, thresholds: Any) -> None:
    """The objectives on latency as dashed lines."""
    for threshold in map(parse_threshold, thresholds or ()):
        if threshold.metric != "p" or threshold.endpoint:
            continue
        axis.axhline(threshold.limit / 1e3, color=WARN, linewidth=1, linestyle="--")
        axis.annotate(
            threshold.text, (1, threshold.limit / 1e3), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=9, color=WARN,
        )  # fmt: skip


def _plain_ms(axis: Any) -> None:
    """Numbers as people read them on a logarithmic axis, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_ylim()
    few = low > 0 and high / low < 50
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
