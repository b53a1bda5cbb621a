"""Reports to hand on: one self-contained HTML file, a markdown summary, an HdrHistogram table."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from loadtest.show import show_time
from loadtest.statistics import NO_LATENCY, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loadtest.record import Records
    from loadtest.summary import Summary

_HIGHEST_US = 3_600_000_000
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:960px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .2rem} h2{font-size:1.05rem;margin:1.8rem 0 .4rem}
table{border-collapse:collapse;margin:.4rem 0} td,th{padding:.25rem .9rem .25rem 0;text-align:right}
td:first-child,th:first-child{text-align:left} th{font-weight:600;border-bottom:1px solid #ced4da}
.pass{color:#2b8a3e} .fail{color:#c92a2a} .unknown,.note{color:#b35c00} img{max-width:100%}
.quiet{color:#667} code{background:#f1f3f5;padding:0 .3em;border-radius:3px}
"""


def html_report(summary: Summary, images: dict[str, Path]) -> str:
    """One page without outside parts.

    Args:
        summary: the run.
        images: PNG files by title, put into the page.
    """
    f = summary.figures
    verdict = "VALID" if summary.valid else "INVALID"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>Load test of {escape(', '.join(summary.targets))}</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>Load test of {escape(', '.join(summary.targets))}{_label(summary)}</h1>",
        f"<p class=quiet>{escape(_kind(summary))}</p>",
        f"<p class={'pass' if summary.valid else 'fail'}><b>{verdict}</b></p>",
        *(f"<p class=fail>{escape(r.side)}: {escape(r.text)}</p>" for r in summary.reasons),
        _section("Thresholds", _thresholds(summary)) if summary.thresholds else "",
        _section("Latency", _latency(summary)),
        _section("Rates", _table(
            ("offered/s", "sent/s", "completed/s", "good/s", "requests", "errors"),
            [(f"{f.offered_rate:,.1f}", f"{f.sent_rate:,.1f}", f"{f.completed_rate:,.1f}",
              f"{f.good_rate:,.1f}", f"{f.requests:,}", f"{f.error_share:.3%}")],
        )),
        _section("Outcomes", _table(("outcome", "requests"),
                                    [(name, f"{n:,}") for name, n in f.outcomes.items()])),
        _section("Where the time went", _server(summary)) if summary.server else "",
        *(_section(title, _image(path)) for title, path in images.items()),
        _section("Made on", _environment(summary)),
        "</html>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def markdown_report(summary: Summary) -> str:
    """A summary for a pull request."""
    f = summary.figures
    lines = [
        f"### Load test of {', '.join(summary.targets)}{_label(summary)}",
        _kind(summary),
        "",
        "| latency | corrected | certified | uncorrected |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in _latency_rows(summary)),
        "",
        (
            f"offered {f.offered_rate:,.0f}/s, good {f.good_rate:,.0f}/s, "
            f"errors {f.error_share:.3%}; **{'valid' if summary.valid else 'INVALID'}**"
        ),
        *(f"- {r.side}: {r.text}" for r in summary.reasons),
        *(f"- `{j.text}`: **{j.verdict}** {j.why}" for j in summary.thresholds),
        "",
        (
            f"made on {summary.environment.cpu}, {summary.environment.cores} cores, kernel "
            f"{summary.environment.kernel}, plan {summary.environment.plan}"
        ),
    ]
    return "\n".join(lines) + "\n"


def hgrm_report(corrected_us: np.ndarray) -> str:
    """Percentile distribution in HdrHistogram's text form, values in milliseconds.

    Args:
        corrected_us: latencies, ascending, microseconds.
    """
    n = len(corrected_us)
    lines = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""]
    level, half = 0.0, 1.0
    while n and half > 1 / n:
        for step in range(5):
            level = 1 - half + half / 2 * step / 5
            value = nearest_rank(corrected_us, level) or float(corrected_us[0])
            count = max(int(np.ceil(level * n)), 1)
            lines.append(f"{value / 1e3:12.3f} {level:2.12f} {count:10d} {1 / (1 - level):14.2f}")
        half /= 2
    if n:
        lines.append(f"{corrected_us[-1] / 1e3:12.3f} {1:2.12f} {n:10d}          inf")
        mean, deviation = corrected_us.mean() / 1e3, corrected_us.std() / 1e3
        lines.append(f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]")
        lines.append(f"#[Max     = {corrected_us[-1] / 1e3:12.3f}, Total count    = {n:12d}]")
    return "\n".join(lines) + "\n"


def write_hlog(records: Records, begin_ns: int, path: Path) -> None:
    """Corrected latency as an HdrHistogram log: one histogram per second, microseconds.

    Args:
        records: of the measured part.
        begin_ns: monotonic start of the measured part; second 0 of the log.
        path: file to write.

    Source: github.com/HdrHistogram/HdrHistogram, log format 1.2.
    """
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogWriter

    kept = records.take(~np.isin(records.outcome, NO_LATENCY))
    second = (kept.scheduled - begin_ns) // 1_000_000_000
    latency = np.maximum((kept.last - kept.scheduled) // 1000, 1)
    with path.open("w", encoding="utf-8") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_comment("[StartTime: 0.000 (seconds since the start of the measurement)]")
        writer.output_legend()
        for at in range(int(second[-1]) + 1 if len(second) else 0):
            histogram = HdrHistogram(1, _HIGHEST_US, 3)
            values, counts = np.unique(latency[second == at], return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                histogram.record_value(min(value, _HIGHEST_US), count)
            histogram.set_start_time_stamp(at * 1000)
            histogram.set_end_time_stamp((at + 1) * 1000)
            writer.output_interval_histogram(histogram, max_value_unit_ratio=1000.0)


def _label(summary: Summary) -> str:
    return " (LOCAL)" if summary.local else ""


def _kind(summary: Summary) -> str:
    return (
        f"{summary.loop} loop, {summary.arrival} arrivals, {summary.profile} profile, "
        f"{summary.figures.seconds:.1f} s after {summary.warmup_s:g} s warm-up, seed {summary.seed}"
    )


def _latency_rows(summary: Summary) -> list[tuple[str, ...]]:
    return [
        (
            f"p{p.percentile * 100:g}",
            show_time(p.corrected),
            f"≤ {show_time(p.bound)}" if p.bound else f"not certifiable, need {p.needed:,}",
            show_time(p.uncorrected),
        )
        for p in summary.figures.percentiles
    ]


def _latency(summary: Summary) -> str:
    return _table(("", "corrected", "certified at 99%", "uncorrected"), _latency_rows(summary))


def _thresholds(summary: Summary) -> str:
    return "".join(
        f"<p class={j.verdict}><code>{escape(j.text)}</code> {j.verdict} {escape(j.why)}</p>"
        for j in summary.thresholds
    )


def _server(summary: Summary) -> str:
    s = summary.server
    assert s is not None
    rows = [
        ("in the router", f"{s.router_us:.1f} us"),
        ("of that in models", f"{s.infer_us:.1f} us"),
        ("decode, route, audit, encode", f"{s.rest_us:.1f} us"),
    ]
    rows += [
        (f"{name}: {n / max(sum(s.models.values()), 1):.1%} of rows",
         f"{s.model_us.get(name, 0.0):.1f} us")
        for name, n in s.models.items()
    ]  # fmt: skip
    return _table(("mean per request", ""), rows)


def _environment(summary: Summary) -> str:
    e = summary.environment
    libraries = ", ".join(f"{name} {version}" for name, version in e.libraries.items())
    local = (
        f"<p class=note>LOCAL: generator and server share core "
        f"{', '.join(map(str, summary.local))}; latencies are too high and rates too low.</p>"
        if summary.local
        else ""
    )
    return (
        f"{local}<p class=quiet>{escape(e.cpu)}, {e.cores} cores, {e.memory_mb:,} MiB, kernel "
        f"{escape(e.kernel)}, governor {escape(e.governor)}, Python {e.python}; "
        f"{escape(libraries)}; plan {e.plan}</p>"
    )


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'
