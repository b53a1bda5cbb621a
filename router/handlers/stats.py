"""``/v2/models/{m}/stats``: Triton's statistics, from the counters of all workers of the node."""

# ruff: noqa: ARG001 - all handlers have one signature

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from router.handlers.metadata import endpoint_of
from router.head import Head
from router.metrics.catalogue import DURATION, INFER
from router.metrics.slots import sum_files
from router.metrics.text import split
from router.plane import Answer, Plane

_encode = msgspec.json.encode
US = 1000


async def stats(plane: Plane, head: Head, receive: Any) -> Answer:
    """Counts and cumulated times per endpoint."""
    if head.endpoint:
        wanted = [endpoint_of(plane, head)]
    else:
        plane.allow_read(head)
        wanted = [each.endpoint for each in plane.all_deciders()]
    totals = await asyncio.to_thread(totals_of, plane.settings.metrics_dir)
    return _encode({"model_stats": [_entry(each.name, each.number, totals) for each in wanted]})


def totals_of(folder: Path) -> dict[tuple[str, str, str], int]:
    """Sums by (metric, endpoint, release)."""
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    for name, value in sum_files(folder).items():
        base, labels = split(name)
        totals[base, labels.get("endpoint", ""), labels.get("release", "")] += value
    return totals


def _entry(name: str, number: int, totals: dict[tuple[str, str, str], int]) -> dict[str, Any]:
    def total(base: str) -> int:
        return totals.get((base, name, str(number)), 0)

    requests, rows = total(DURATION + "_bucket"), total("interlock_route_decisions_total")
    whole, model = total(DURATION + "_sum") * US, total(INFER)
    nothing = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": str(number),
        "last_inference": 0,
        "inference_count": rows,
        "execution_count": requests,
        "inference_stats": {
            "success": {"count": requests, "ns": whole},
            "fail": nothing,
            "queue": nothing,
            "compute_input": {"count": requests, "ns": max(whole - model, 0)},
            "compute_infer": {"count": requests, "ns": model},
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }
