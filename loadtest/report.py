"""Reports to hand on: a markdown summary, HdrHistogram's table and log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest.html import kind_of, latency_rows
from loadtest.show import agent_lines, server_lines
from loadtest.statistics import NO_LATENCY, nearest_rank

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.record import Records
    from loadtest.summary import Summary

_HIGHEST_US = 3_600_000_000


def markdown_report(summary: Summary) -> str:
    """A summary for a pull request."""
    f = summary.figures
    lines = [
        f"### Load test of {', '.join(summary.targets)}{_label(summary)}",
        kind_of(summary),
        "",
        "| latency | corrected | certified | uncorrected |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in latency_rows(summary)),
        "",
        (
            f"offered {f.offered_rate:,.0f}/s, good {f.good_rate:,.0f}/s, "
            f"errors {f.error_share:.3%}; **{'valid' if summary.valid else 'INVALID'}**"
        ),
        *(f"- {' '.join(line.split())}" for line in _server_side(summary)),
        *(f"- {r.side}: {r.text}" for r in summary.reasons),
        *(f"- `{j.text}`: **{j.verdict}** {j.why}" for j in summary.thresholds),
        "",
        (
            f"made on {summary.environment.cpu}, {summary.environment.cores} cores, kernel "
            f"{summary.environment.kernel}, plan {summary.environment.plan}"
        ),
    ]
    return "\n".join(lines) + "\n"


def _server_side(summary: Summary) -> list[str]:
    lines = server_lines(summary.server) if summary.server else []
    if summary.binding is not None and summary.binding.uses:
        lines.append(f"fullest {summary.binding.words}")
    return lines + agent_lines(summary)


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
