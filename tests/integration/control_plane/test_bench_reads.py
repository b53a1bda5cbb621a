"""The benchmark of the control plane measures every read route and draws the curve."""

from __future__ import annotations

import re
from typing import Any

from control_plane.app import handlers
from loadtest.bench.control import LIMIT_MS, LoadFigures, ReadFigures
from loadtest.bench.control_plot import plot_control
from loadtest.bench.control_reads import NOT_READ, READS


def pattern(path: str) -> re.Pattern[str]:
    """Addresses of a route."""
    return re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$")


async def test_every_read_route_is_measured_or_left_out_with_a_reason(house: Any) -> None:
    document = (await house.client.get("/docs/openapi.json")).json()
    measured = ["/api" + path.partition("?")[0] for _, path in READS]
    routes = {path for path, methods in document["paths"].items() if "get" in methods}
    unread = {
        path
        for path in routes
        if path.startswith("/api") and not any(pattern(path).match(each) for each in measured)
    }
    assert unread == set(NOT_READ)
    assert all(pattern(path).match(path) for path in NOT_READ)
    assert len(handlers(house.app)) > len(routes)


def test_the_curve_is_drawn(tmp_path: Any) -> None:
    reads = [ReadFigures(n, "audit newest", 1.0, 2.0, 10) for n in (1000, 10_000)]
    loads = [LoadFigures(n, 200.0, 1.0, 2.0, 0) for n in (1000, 10_000)]
    path = tmp_path / "control.png"
    plot_control(reads, loads, LIMIT_MS, path)
    assert path.read_bytes()[:4] == b"\x89PNG"
