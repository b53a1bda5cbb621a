"""A Grafana dashboard, made from the metric names: what an operator looks at, top to bottom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

HEIGHT = 7
"""Of one panel, in rows of a grid of 24 columns."""
SOURCE = {"type": "prometheus", "uid": "${source}"}
PICKED = 'endpoint=~"$endpoint",instance=~"$instance"'
NODE = 'instance=~"$instance"'


class Panel(Struct, frozen=True):
    """One plot.

    Attributes:
        title: what is plotted.
        unit: Grafana's word for the unit.
        lines: legend and PromQL of each line.
        help: one sentence behind the (i).
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    help: str = ""


def _quantile(share: float) -> str:
    rates = f"rate(interlock_request_duration_seconds_bucket{{{PICKED}}}[$__rate_interval])"
    return f"histogram_quantile({share:g}, sum by (le) ({rates}))"


def _rate(name: str, by: str, where: str = PICKED) -> str:
    return f"sum by ({by}) (rate({name}{{{where}}}[$__rate_interval]))"


def _per_row(name: str) -> str:
    rows = _rate("interlock_route_decisions_total", "model")
    return f"{_rate(name, 'model')} / {rows}"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "What callers see",
        (
            Panel(
                "Requests per second",
                "reqps",
                (("{{endpoint}}", _rate("interlock_request_duration_seconds_count", "endpoint")),),
                "Answered requests by endpoint; a batch counts once.",
            ),
            Panel(
                "Latency",
                "s",
                tuple((f"p{s * 100:g}", _quantile(s)) for s in (0.5, 0.9, 0.99, 0.999)),
                "From the last byte read to the answer, inside the router.",
            ),
            Panel(
                "Refused",
                "reqps",
                (
                    (
                        "{{status}} {{code}}",
                        _rate("interlock_requests_refused_total", "status, code"),
                    ),
                ),
                "4xx are the callers', 5xx are ours.",
            ),
        ),
    ),
    (
        "Decisions",
        (
            Panel(
                "Rows by model",
                "rowsps",
                (("{{model}}", _rate("interlock_route_decisions_total", "model")),),
            ),
            Panel(
                "Rows by rule",
                "rowsps",
                (("{{rule}}", _rate("interlock_route_decisions_total", "rule")),),
                "A change without a release is a change of the callers.",
            ),
            Panel(
                "Rows by decision",
                "rowsps",
                (("{{decision}}", _rate("interlock_route_decisions_total", "decision")),),
            ),
        ),
    ),
    (
        "Models",
        (
            Panel(
                "Time in models",
                "s",
                (("{{model}}", _per_row("interlock_infer_duration_seconds_total")),),
                "Seconds per row.",
            ),
            Panel(
                "Memory of models",
                "bytes",
                (
                    (
                        "{{model}} v{{version}}",
                        f"sum by (model, version) (interlock_model_memory_bytes{{{NODE}}})",
                    ),
                    ("limit", f"sum(interlock_model_memory_limit_bytes{{{NODE}}})"),
                ),
            ),
            Panel(
                "Features tolerated by policy",
                "reqps",
                (("{{name}}", _rate("interlock_features_tolerated_total", "name")),),
            ),
        ),
    ),
    (
        "Evidence",
        (
            Panel(
                "Records only on the node's disk",
                "short",
                (
                    (
                        "{{instance}}",
                        f"sum by (instance) (interlock_audit_exposed_records{{{NODE}}})",
                    ),
                ),
                "What a lost disk would take.",
            ),
            Panel(
                "Lag",
                "s",
                (
                    ("shipper {{instance}}", f"interlock_shipper_lag_seconds{{{NODE}}}"),
                    (
                        "oldest {{instance}}",
                        f"max by (instance) (interlock_audit_exposure_seconds{{{NODE}}})",
                    ),
                ),
            ),
            Panel(
                "Spool",
                "bytes",
                (("{{instance}}", f"interlock_spool_bytes{{{NODE}}}"),),
            ),
            Panel(
                "Records",
                "rowsps",
                (
                    ("kept", _rate("interlock_audit_records_total", "instance", NODE)),
                    ("shipped", _rate("interlock_shipper_records_total", "instance", NODE)),
                    ("quarantined", _rate("interlock_shipper_quarantined_total", "instance", NODE)),
                    ("dropped", _rate("interlock_audit_records_dropped_total", "instance", NODE)),
                ),
            ),
        ),
    ),
    (
        "Capacity",
        (
            Panel(
                "Connections and requests in progress",
                "short",
                (
                    ("connections {{instance}}", f"interlock_connections{{{NODE}}}"),
                    ("in progress {{instance}}", f"interlock_in_flight{{{NODE}}}"),
                ),
            ),
            Panel(
                "Event loop late by",
                "s",
                (("{{instance}}", f"max by (instance) (interlock_loop_lag_seconds{{{NODE}}})"),),
                "Requests wait about this long before anybody looks at them.",
            ),
            Panel(
                "Age of the feed",
                "s",
                (
                    (
                        "{{instance}}",
                        f"time() - min by (instance) (interlock_feed_read_time_seconds{{{NODE}}})",
                    ),
                ),
                "Releases and revoked keys are this old at most.",
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON, for import or provisioning."""
    return (
        json.dumps(
            {
                "title": "Interlock",
                "uid": "interlock",
                "tags": ["interlock"],
                "schemaVersion": 39,
                "version": 1,
                "editable": True,
                "refresh": "10s",
                "time": {"from": "now-1h", "to": "now"},
                "templating": {"list": [_source(), *map(_variable, ("endpoint", "instance"))]},
                "panels": list(_panels()),
            },
            indent=1,
        )
        + "\n"
    )


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str) -> dict[str, Any]:
    metric = (
        "interlock_request_duration_seconds_count"
        if name == "endpoint"
        else "interlock_connections"
    )
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    """Rows and panels with places on the grid."""
    number, top = 1, 0
    for title, panels in ROWS:
        yield {"id": number, "type": "row", "title": title, "collapsed": False,
               "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}}  # fmt: skip
        number, top = number + 1, top + 1
        width = 24 // len(panels)
        for place, panel in enumerate(panels):
            yield _panel(number, panel, {"x": place * width, "y": top, "w": width, "h": HEIGHT})
            number += 1
        top += HEIGHT


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(65 + index), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
            for index, (legend, expr) in enumerate(panel.lines)
        ],
    }
