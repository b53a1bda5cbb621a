"""``/metrics``: the counters of all workers of the node in the text format of Prometheus."""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

import asyncio
import time
from typing import Any

from router.head import Head
from router.metrics.text import render
from router.plane import Answer, Plane
from router.problem import Reply
from serving.audit.gauges import spool_gauges

TEXT = b"text/plain; version=0.0.4; charset=utf-8"


async def metrics(plane: Plane, head: Head, receive: Any) -> Answer:
    """Sum and write in a thread, so that a scrape does not hold up predictions."""
    plane.allow_read(head)
    desk = (
        plane.desk
    )  # this worker's count is exact here; those of the others are a tick old at most
    desk.counters.values[desk.counters.slot("interlock_audit_records_total")] = desk.spool.last_seq

    def write() -> bytes:
        return render(plane.settings.metrics_dir, spool_gauges(desk.spool.folder, time.time_ns()))

    return Reply(200, await asyncio.to_thread(write), TEXT)
