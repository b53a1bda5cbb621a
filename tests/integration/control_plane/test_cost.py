"""A release has to hold the SLO with what its models were measured to cost, or say why not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control_plane.registry import service

TEXT = "IF amount < 2000 THEN quick ELSE big"


@pytest.fixture
async def versions(staff: Any, packages: Any) -> dict[str, str]:
    """Digests of a light and a heavy model, both approved."""
    found = {}
    for name in ("quick", "big"):
        _, found[name] = await packages(name, staff["scientist"])
        path = f"/models/{name}/versions/1"
        await staff["scientist"].post(path + "/submit")
        await staff["second"].read_reports(path)
        await staff["second"].approve(path)
    return found


@pytest.fixture
async def drafted(staff: Any, versions: dict[str, str]) -> dict[str, str]:
    """An endpoint with an SLO of 5 ms and a draft that routes to both."""
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit", "slo": {"p99_ms": 5}})
    draft = {"rules": {"text": TEXT}, "models": {"quick": 1, "big": 1}}
    answer = await manager.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    assert answer.status == 200, answer.raw
    return versions


async def held(db: Any, node: str, worker: int, **costs: Any) -> None:
    """A worker's heartbeat that says what it measured when it loaded packages."""
    loaded = [{"models": [{"package": p, "cost_us": c} for p, c in costs.items()]}]
    await db.execute(
        "SELECT node_heartbeat($1, $2, 1, 1, $3, '{}')",
        node, worker, msgspec.json.encode(loaded).decode(),
    )  # fmt: skip


async def gate(staff: Any) -> list[str]:
    """Findings of the gate in the check of the draft."""
    check = await staff["manager"].post("/endpoints/credit/draft/check")
    found = [f for f in check["findings"] if f["code"].startswith("gate.")]
    assert check["ok"] is not any(f["level"] == "error" for f in check["findings"])
    return [f"{f['code']} {f['message']}" for f in found]


async def test_what_nobody_measured_does_not_pass(staff: Any, drafted: Any) -> None:
    found = await gate(staff)
    assert [text.split()[0] for text in found] == ["gate.cost_unknown"] * 2
    path, body = "/endpoints/credit/releases", {"justification": "x"}
    assert await staff["manager"].refused("POST", path, body) == (422, "release.findings")
    assert (await staff["manager"].get("/releases"))["items"] == []


async def test_a_heavy_route_stops_a_proposal_and_a_waiver_is_signed_with_it(
    staff: Any, drafted: dict[str, str], db: Any
) -> None:
    manager = staff["manager"]
    await held(db, "a", 0, **{drafted["quick"]: 12.0, drafted["big"]: 7120.0})
    (found,) = await gate(staff)
    for part in ("gate.cost ", "rule default to big version 1", "7120.0 us", "node a", "5000 us"):
        assert part in found
    path = "/endpoints/credit/releases"
    refused = await manager.call("POST", path, {"justification": "x"})
    assert (refused.status, refused.code) == (422, "release.findings")
    assert [each["code"] for each in refused.body["errors"]] == ["gate.cost"]
    assert (await manager.get("/releases"))["items"] == []
    body = {"justification": "a week of trial", "waivers": ["gate.cost"]}
    release = await manager.post(path, body)
    assert release["justification"] == "a week of trial [waived: gate.cost]"
    assert "[waived: gate.cost]" in release["content"]["justification"]
    log = (await staff["admin"].get("/log?limit=1"))["items"][0]
    assert log["action"] == "release.propose"
    assert log["detail"]["waivers"] == ["gate.cost"]
    assert "7120.0 us" in log["detail"]["waived"][0]
    await staff["compliance"].approve(f"/releases/{release['id']}")


async def test_an_slo_in_microseconds_or_none_is_what_counts(
    staff: Any, drafted: dict[str, str], db: Any
) -> None:
    await held(db, "a", 0, **{drafted["quick"]: 12.0, drafted["big"]: 40.0})
    assert await gate(staff) == []
    for slo, expected in (({"cost_us": 30}, 1), ({"cost_us": 50}, 0), ({"availability": 0.9}, 0)):
        answer = await staff["manager"].call("PATCH", "/endpoints/credit", {"slo": slo})
        assert answer.status < 300, answer.raw
        assert len(await gate(staff)) == expected


async def test_the_best_worker_of_the_worst_node_counts_before_validations_and_builds(
    staff: Any, drafted: dict[str, str], db: Any
) -> None:
    quick, big = drafted["quick"], drafted["big"]
    raw = b'{"cost_us": 9000.0}'
    for name in ("quick", "big"):
        await service.add_report(db, name, 1, "cost", media_type="application/json", content=raw)
    assert [("the job that built it" in text) for text in await gate(staff)] == [True]
    await validated(db, "big", big, 1, 8000.0)
    await validated(db, "big", big, 2, 7000.0)
    await validated(db, "quick", quick, 1, 10.0)
    (found,) = await gate(staff)
    assert "7000.0 us a row by validation 2" in found
    for node, worker, cost in (("a", 0, 6000.0), ("a", 1, 4000.0), ("b", 0, 4500.0)):
        await held(db, node, worker, **{big: cost})
    assert await gate(staff) == []
    await held(db, "b", 0, **{big: 6500.0})
    (found,) = await gate(staff)
    assert "6500.0 us a row by node b, which holds it," in found
    await db.execute("UPDATE node_workers SET seen_at = seen_at - interval '1 hour'")
    assert "validation 2" in (await gate(staff))[0]


async def test_a_heartbeat_that_makes_no_sense_measures_nothing(
    staff: Any, drafted: dict[str, str], db: Any
) -> None:
    await held(db, "a", 0, **{drafted["big"]: "fast", drafted["quick"]: None})
    await db.execute("""SELECT node_heartbeat('b', 0, 1, 1, '{"models": 5}', '{}')""")
    assert len(await gate(staff)) == 2


async def validated(db: Any, model: str, package: str, number: int, cost_us: float) -> None:
    """A finished validation with what it measured."""
    digest = "sha256:" + "1" * 64
    await db.execute(
        "INSERT INTO datasets (name, task, source, licence, created_by)"
        " VALUES ('d', 'clustering', 's', 'l', 'x') ON CONFLICT DO NOTHING"
    )
    await db.execute(
        "INSERT INTO snapshots (dataset, number, digest, rows, features, output, profile, findings,"
        " origin, created_by) VALUES ('d', 1, $1, 1, '{}', '{}', '{}', '[]', '{}', 'x')"
        " ON CONFLICT DO NOTHING",
        digest,
    )
    job = await db.fetchval(
        "INSERT INTO jobs (kind, payload, created_by) VALUES ('validate', '{}', 'x') RETURNING id"
    )
    await db.execute(
        "INSERT INTO validations (job, model, version, number, package, dataset, snapshot, options,"
        " created_by, summary, breached, finished_at)"
        " VALUES ($1, $2, 1, $3, $4, 'd', $5, '{}', 'x', $6, false, clock_timestamp())",
        job, model, number, package, digest, msgspec.json.encode({"cost_us": cost_us}).decode(),
    )  # fmt: skip
