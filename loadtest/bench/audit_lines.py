"""Figures of ``interlock bench audit`` as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.bench.models import Line

if TYPE_CHECKING:
    from loadtest.bench.audit import AuditReport


def audit_lines(report: AuditReport) -> list[Line]:
    """Every figure of a report that was measured."""
    append, strict = report.append, report.strict
    lines = [
        Line("append", "p50", append.p50_us, "us"),
        Line("append", "p99", append.p99_us, "us"),
        Line("append", "p99.9", append.p999_us, "us"),
        Line("append", "a loop without pauses", append.per_s, "records/s"),
        Line(f"strict, {strict.per_s:,.0f} records/s", "p50", strict.p50_ms, "ms"),
        Line(f"strict, {strict.per_s:,.0f} records/s", "p99", strict.p99_ms, "ms"),
    ]
    if report.ship is not None:
        lines += [
            Line("shipping", "shipper", report.ship.shipper_per_s, "rows/s"),
            Line("shipping", "bare COPY of the same rows", report.ship.copy_per_s, "rows/s"),
            Line("shipping", "shipper", report.ship.cpu_us_per_row, "us CPU a row"),
        ]
    if report.catch_up is not None:
        lines += [
            Line("catching up", "arriving", report.catch_up.arrival_per_s, "rows/s"),
            Line("catching up", "shipped meanwhile", report.catch_up.shipped_per_s, "rows/s"),
        ]
    if report.serving is not None:
        lines += [
            Line("a whole request", "with evidence", report.serving.on_us, "us CPU"),
            Line("a whole request", "without", report.serving.off_us, "us CPU"),
        ]
    return lines
