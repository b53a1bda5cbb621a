"""Every metric of the data plane: name, kind, unit and one sentence; and the twins of known names.

Dashboards and alert rules are generated from this list, so a name lives in one place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from msgspec import Struct

MICRO = 1_000_000
NANO = 1_000_000_000
Samples = list[tuple[dict[str, str], int]]
Found = dict[str, Samples]


class Metric(Struct, frozen=True):
    """One metric.

    Attributes:
        name: as scraped.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: one sentence.
        unit: what the stored integers are divided by.
        source: how it follows from other series; None when it is stored itself.
    """

    name: str
    kind: str
    help: str
    unit: int = 1
    source: Callable[[Found], Samples] | None = None


def _as_v2(labels: dict[str, str]) -> dict[str, str]:
    """Labels in the words of the Open Inference Protocol: model is the endpoint."""
    return {"model": labels.get("endpoint", ""), "version": labels.get("release", "")}


def _summed(base: str, *, divide: int = 1) -> Callable[[Found], Samples]:
    """Sum of a series over everything but endpoint and release."""

    def source(found: Found) -> Samples:
        total: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
        for labels, value in found.get(base, []):
            total[tuple(_as_v2(labels).items())] += value
        return [(dict(labels), value // divide) for labels, value in total.items()]

    return source


DURATION = "interlock_request_duration_seconds"
INFER = "interlock_infer_duration_seconds_total"
STAGE = "interlock_stage_duration_seconds_total"
STAGE_SAMPLES = "interlock_stage_samples_total"
BATCH_WAIT = "interlock_batch_wait_seconds_total"
MODEL_CPU = "interlock_model_cpu_seconds_total"
MODEL_CPU_SAMPLES = "interlock_model_cpu_samples_total"

CATALOGUE: tuple[Metric, ...] = (
    Metric(DURATION, "histogram", "Time from the last byte read to the answer.", MICRO),
    Metric(
        "interlock_route_decisions_total",
        "counter",
        "Rows decided, by rule, model and decision.",
    ),
    Metric(
        "interlock_decision_rules_total",
        "counter",
        "Rows decided by each rule of the decision table.",
    ),
    Metric(
        "interlock_rule_unknown_total",
        "counter",
        "Rules that were UNKNOWN before the one that decided, by rule.",
    ),
    Metric(
        "interlock_rule_type_errors_total",
        "counter",
        "Values of a wrong type taken as missing, by each rule that tests their feature.",
    ),
    Metric(INFER, "counter", "Time spent in models.", NANO),
    Metric(STAGE, "counter", "Time of each step of the requests that were timed.", NANO),
    Metric(STAGE_SAMPLES, "counter", "Requests that were timed step by step, about 1 in 128."),
    Metric(BATCH_WAIT, "counter", "Time that rows of costly models waited for their batch.", NANO),
    Metric(
        MODEL_CPU, "counter", "Processor time of models, of the calls of which it was taken.", NANO
    ),
    Metric(MODEL_CPU_SAMPLES, "counter", "Calls of which it was taken, about 1 in 128, by model."),
    Metric("interlock_requests_refused_total", "counter", "Requests refused, by status and code."),
    Metric(
        "interlock_features_tolerated_total",
        "counter",
        "Features that were ignored or taken as missing by policy, by name.",
    ),
    Metric(
        "interlock_audit_records_total", "counter", "Records kept in the spool by live workers."
    ),
    Metric(
        "interlock_audit_records_dropped_total",
        "counter",
        "Records given up because the spool was full and the policy says so.",
    ),
    Metric(
        "interlock_audit_exposed_records",
        "gauge",
        "Records that only this node's disk has yet, by worker.",
    ),
    Metric(
        "interlock_audit_exposure_seconds",
        "gauge",
        "Age of the oldest of them: what a lost disk would take, by worker.",
        MICRO,
    ),
    Metric("interlock_spool_bytes", "gauge", "Bytes of segments on this node."),
    Metric("interlock_spool_segments", "gauge", "Segment files on this node."),
    Metric(
        "interlock_spool_full_in_seconds",
        "gauge",
        "Until the spool is full at the growth of the last minute; absent when it does not grow.",
        MICRO,
    ),
    Metric(
        "interlock_shipper_lag_seconds",
        "gauge",
        "Since the database last had everything, the age of the shipper's report included.",
        MICRO,
    ),
    Metric(
        "interlock_shipper_report_age_seconds",
        "gauge",
        "Since the shipper last reported: more than a few seconds is a dead shipper.",
        MICRO,
    ),
    Metric(
        "interlock_shipper_segments_waiting",
        "gauge",
        "Segments that the ledger does not close yet.",
    ),
    Metric(
        "interlock_shipper_records_total",
        "counter",
        "Records and events brought to the database since the shipper started.",
    ),
    Metric(
        "interlock_shipper_quarantined_total",
        "counter",
        "Of these, records that could not become rows.",
    ),
    Metric(
        "interlock_shipper_dropped_total",
        "counter",
        "Records that gaps in the evidence stand for.",
    ),
    Metric("interlock_shipper_failures_total", "counter", "Attempts to ship that failed."),
    Metric("interlock_shipper_alarms", "gauge", "Alarms of the shipper: see its log."),
    Metric("interlock_connections", "gauge", "Open connections."),
    Metric("interlock_in_flight", "gauge", "Requests in progress on the slow lane."),
    Metric(
        "interlock_loop_lag_seconds",
        "gauge",
        "How late the event loop's timer fired, by worker.",
        MICRO,
    ),
    Metric("interlock_releases_loaded", "gauge", "Endpoints served, summed over workers."),
    Metric("interlock_release_refused", "gauge", "Releases refused now, by endpoint and code."),
    Metric(
        "interlock_model_memory_bytes",
        "gauge",
        "Memory that loading a model took, summed over workers.",
    ),
    Metric(
        "interlock_model_memory_limit_bytes",
        "gauge",
        "Memory that models may take, summed over workers.",
    ),
    Metric("interlock_feed_reads_total", "counter", "Reads of the feed, by outcome."),
    Metric(
        "interlock_feed_read_time_seconds", "gauge", "Time of the last good read, by worker.", MICRO
    ),
    Metric("interlock_slow_requests_total", "counter", "Requests slower than the log's limit."),
    Metric(
        "interlock_metric_series_dropped_total",
        "counter",
        "Series that found no slot; their counts are missing.",
    ),
    Metric(
        "nv_inference_request_success",
        "counter",
        "Answered requests (twin of Triton's).",
        source=_summed(DURATION + "_bucket"),
    ),
    Metric(
        "nv_inference_count",
        "counter",
        "Rows answered (twin of Triton's).",
        source=_summed("interlock_route_decisions_total"),
    ),
    Metric(
        "nv_inference_request_duration_us",
        "counter",
        "Cumulated request time (twin of Triton's).",
        source=_summed(DURATION + "_sum"),
    ),
    Metric(
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Cumulated model time (twin of Triton's).",
        source=_summed(INFER, divide=1000),
    ),
)
