"""The benchmark of the control plane measures every read route, on a state that they all read."""

from __future__ import annotations

import re
from typing import Any

from control_plane.app import handlers
from loadtest.bench.control import LIMIT_MS, LoadFigures, ReadFigures
from loadtest.bench.control_plot import plot_control
from loadtest.bench.control_reads import NOT_READ, READS, resolve
from loadtest.bench.control_state import SUBJECT_KEY, add_audit_rows, fill


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


async def test_the_generated_state_is_one_that_every_route_reads(
    house: Any, staff: Any, database_url: str
) -> None:
    secrets = house.settings.home / "secrets"
    secrets.mkdir()
    (secrets / "subject.key").write_bytes(SUBJECT_KEY)
    told: list[str] = []
    await fill(database_url, told.append)
    await add_audit_rows(database_url, 0, 6000, told.append)
    await add_audit_rows(database_url, 6000, 9000, told.append)
    manager = staff["manager"]
    empty = []
    for name, path in await resolve(manager.get):
        body = await manager.get(path)
        if isinstance(body, dict) and body.get("items") == []:
            empty.append(name)
    quiet = {"audit of a quiet one", "audit by key", "audit by rule", "audit of errors",
             "audit parts", "audit by outcome", "disposals", "retention", "connections",
             "log of an actor", "log of an act"}  # fmt: skip
    assert set(empty) <= quiet
    assert (await manager.get("/models?limit=1"))["next"]


def test_the_curve_is_drawn(tmp_path: Any) -> None:
    reads = [ReadFigures(n, "audit newest", 1.0, 2.0, 10) for n in (1000, 10_000)]
    loads = [LoadFigures(n, 200.0, 1.0, 2.0, 0) for n in (1000, 10_000)]
    path = tmp_path / "control.png"
    plot_control(reads, loads, LIMIT_MS, path)
    assert path.read_bytes()[:4] == b"\x89PNG"
