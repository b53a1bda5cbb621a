"""Prometheus alert rules, made from the metric names and the objectives of endpoints.

Availability is watched by the burn rate of its error budget in two windows each (Google, *The Site
Reliability Workbook*, chapter 5): a page when a month's budget would be gone in two days or in
five, a ticket when it would be gone in a month.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

AVAILABILITY = 0.999
"""Objective of an endpoint that declares none."""
BURNS = ((14.4, "1h", "5m", "page"), (6.0, "6h", "30m", "page"), (1.0, "3d", "6h", "ticket"))
"""Times the budget, long window, short window, urgency."""
ANSWERED = "interlock_request_duration_seconds_count"
REFUSED = "interlock_requests_refused_total"


class Alert(Struct, frozen=True):
    """One rule.

    Attributes:
        name: of the alert.
        expr: PromQL.
        held: how long it must be true.
        severity: ``page`` or ``ticket``.
        summary: what is wrong, for whoever is woken.
        action: what to look at first.
    """

    name: str
    expr: str
    held: str
    severity: str
    summary: str
    action: str


NODE_ALERTS: tuple[Alert, ...] = (
    Alert(
        "InterlockReleaseRefused",
        "max by (instance, endpoint, code) (interlock_release_refused) > 0",
        "1m",
        "page",
        "A router refuses a release of {{ $labels.endpoint }} ({{ $labels.code }})",
        "The last good release goes on. `interlock nodes` names the reason; roll back or re-sign.",
    ),
    Alert(
        "InterlockRecordsDropped",
        "increase(interlock_audit_records_dropped_total[10m]) > 0",
        "0m",
        "page",
        "Answers go out without a record: the spool is full and the policy says drop_new",
        "Make room, or bring PostgreSQL back; the gap is counted in the evidence.",
    ),
    Alert(
        "InterlockSpoolFillsUp",
        "interlock_spool_full_in_seconds < 4 * 3600",
        "10m",
        "page",
        "The spool of {{ $labels.instance }} is full within four hours",
        "Is the shipper alive and PostgreSQL reachable? See interlock_shipper_failures_total.",
    ),
    Alert(
        "InterlockShipperSilent",
        "interlock_shipper_report_age_seconds > 30",
        "2m",
        "page",
        "The shipper of {{ $labels.instance }} does not report",
        "Restart `interlock shipper`; records are safe in the spool meanwhile.",
    ),
    Alert(
        "InterlockShipperLag",
        "interlock_shipper_lag_seconds > 60",
        "10m",
        "ticket",
        "PostgreSQL is more than a minute behind {{ $labels.instance }}",
        "Compare interlock_spool_bytes and the load of PostgreSQL.",
    ),
    Alert(
        "InterlockExposure",
        "max by (instance) (interlock_audit_exposure_seconds) > 300",
        "5m",
        "ticket",
        "A lost disk of {{ $labels.instance }} would take more than five minutes of records",
        "The shipper is behind or stopped.",
    ),
    Alert(
        "InterlockQuarantine",
        "increase(interlock_shipper_quarantined_total[1h]) > 0",
        "0m",
        "ticket",
        "Records of {{ $labels.instance }} could not become rows",
        "See the table audit_quarantine: each row says why.",
    ),
    Alert(
        "InterlockFeedStale",
        "time() - min by (instance) (interlock_feed_read_time_seconds) > 60",
        "5m",
        "ticket",
        "{{ $labels.instance }} has not read the feed: it serves from its own copy",
        "Is PostgreSQL reachable from the router? Revoked keys and releases do not arrive.",
    ),
    Alert(
        "InterlockLoopLate",
        "max by (instance) (interlock_loop_lag_seconds) > 0.1",
        "2m",
        "ticket",
        "The event loop of {{ $labels.instance }} is late: requests wait",
        "Add workers or nodes; `interlock loadtest plan` says how many.",
    ),
    Alert(
        "InterlockShedding",
        f'sum by (instance) (rate({REFUSED}{{status="503"}}[5m])) > 1',
        "5m",
        "page",
        "{{ $labels.instance }} turns requests away",
        "Over capacity, draining, or no room for evidence: the label `code` says which.",
    ),
    Alert(
        "InterlockDown",
        'up{job="interlock"} == 0',
        "1m",
        "page",
        "{{ $labels.instance }} does not answer its scrape",
        "Is the router alive? The job of the scrape must be called interlock.",
    ),
)


def _errors(endpoint: str, window: str) -> str:
    """Share of requests in a window that failed for reasons of ours."""
    which = f'{{endpoint="{endpoint}"}}' if endpoint else ""
    failed = f'{{endpoint="{endpoint}",status=~"5.."}}' if endpoint else '{status=~"5.."}'
    bad = f"sum(rate({REFUSED}{failed}[{window}]))"
    return f"({bad} / (sum(rate({ANSWERED}{which}[{window}])) + {bad}))"


def endpoint_alerts(endpoint: str, slo: Mapping[str, float]) -> Iterator[Alert]:
    """Rules of one endpoint; of all together when it has no name.

    Args:
        endpoint: its name.
        slo: ``availability`` as a share, ``p50_ms`` to ``p999_ms`` in milliseconds.
    """
    budget = 1.0 - slo.get("availability", AVAILABILITY)
    what = endpoint or "all endpoints together"
    for times, long, short, severity in BURNS:
        limit = f"{times * budget:.6g}"
        yield Alert(
            f"InterlockErrorBudget{'Page' if severity == 'page' else 'Ticket'}{long.upper()}",
            f"{_errors(endpoint, long)} > {limit} and {_errors(endpoint, short)} > {limit}",
            "2m",
            severity,
            f"{what}: errors burn the budget of {budget:.4%} at {times:g} times its rate",
            "See interlock_requests_refused_total by status and code.",
        )
    which = f'{{endpoint="{endpoint}"}}' if endpoint else ""
    for word, most_ms in sorted(slo.items()):
        digits = word.removeprefix("p").removesuffix("_ms")
        if not (word.endswith("_ms") and digits.isdigit()):
            continue
        quantile = float(f"0.{digits}")
        rates = f"sum by (le) (rate(interlock_request_duration_seconds_bucket{which}[5m]))"
        yield Alert(
            f"InterlockLatencyP{digits}",
            f"histogram_quantile({quantile:g}, {rates}) > {most_ms / 1000:g}",
            "5m",
            "page",
            f"{what}: {word.removesuffix('_ms')} is over its objective of {most_ms:g} ms",
            "See the rows Capacity and Models of the dashboard.",
        )


def alert_rules(slos: Mapping[str, Mapping[str, float]]) -> str:
    """A rule file for Prometheus.

    Args:
        slos: objectives by endpoint; empty watches all endpoints together.
    """
    groups: list[dict[str, Any]] = [_group("interlock", NODE_ALERTS, {})]
    for name, slo in sorted((slos or {"": {}}).items()):
        labels = {"endpoint": name} if name else {}
        title = f"interlock-{name}" if name else "interlock-endpoints"
        groups.append(_group(title, tuple(endpoint_alerts(name, slo)), labels))
    return "\n".join(_yaml({"groups": groups}, 0)) + "\n"


def _group(name: str, alerts: tuple[Alert, ...], labels: dict[str, str]) -> dict[str, Any]:
    rules = [
        {
            "alert": each.name,
            "expr": each.expr,
            "for": each.held,
            "labels": {"severity": each.severity, **labels},
            "annotations": {"summary": each.summary, "action": each.action},
        }
        for each in alerts
    ]
    return {"name": name, "rules": rules}


def _yaml(value: dict[str, Any], depth: int) -> Iterator[str]:
    """Lines of block YAML; strings as JSON, which YAML reads as they are."""
    pad = "  " * depth
    for key, each in value.items():
        if isinstance(each, dict):
            yield f"{pad}{key}:"
            yield from _yaml(each, depth + 1)
        elif isinstance(each, list):
            yield f"{pad}{key}:"
            for item in each:
                first, *rest = _yaml(item, depth + 2)
                yield f"{pad}  - {first.lstrip()}"
                yield from rest
        else:
            yield f"{pad}{key}: {json.dumps(each)}"
