"""The manager's path: drafts nobody overwrites, the diff on traffic, history, keys, repeats."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import pytest

from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from control_plane.endpoints.diff import Row, Sample, _compare, model_changes
from control_plane.endpoints.schemas import Draft
from router.release.spec import ModelRef, ReleaseContent
from tests.builders import OUTPUT


@pytest.fixture
async def live(staff: Any, proposed: str) -> str:
    """Path of the first release, in service."""
    await staff["compliance"].approve(proposed)
    await staff["manager"].post(proposed + "/activate")
    return proposed


async def draft(person: Any, text: str, revision: int, **more: Any) -> Any:
    body = {"rules": {"text": text}, "models": {"quick": 1}, **more}
    return await person.call("PUT", "/endpoints/credit/draft", body, If_Match=f'"{revision}"')


async def release(staff: Any, text: str, **proposal: Any) -> str:
    """Path of a further approved release."""
    manager = staff["manager"]
    view = await manager.get("/endpoints/credit/draft")
    assert (await draft(manager, text, view["revision"])).status == 200
    body = {"justification": "again", **proposal}
    path = "/releases/" + (await manager.post("/endpoints/credit/releases", body))["id"]
    await staff["compliance"].approve(path)
    return path


async def test_two_managers_never_overwrite_each_other(staff: Any) -> None:
    one, other = staff["manager"], staff["second"]
    await one.post("/endpoints", {"name": "credit"})
    assert (await one.refused("GET", "/endpoints/credit/draft")) == (404, "draft.missing")
    assert (await draft(one, "IF amount < 1 THEN quick ELSE quick", 0)).status == 200
    answers = await asyncio.gather(
        draft(one, "IF amount < 2 THEN quick ELSE quick", 1),
        draft(other, "IF amount < 3 THEN quick ELSE quick", 1),
    )
    assert sorted(answer.status for answer in answers) == [200, 412]
    late = next(answer for answer in answers if answer.status == 412)
    assert late.code == "draft.stale"
    assert (await one.get("/endpoints/credit/draft"))["revision"] == 2
    body = {"rules": {"text": "ELSE quick"}}
    assert await one.refused("PUT", "/endpoints/credit/draft", body) == (
        428,
        "precondition.required",
    )


async def test_a_draft_with_errors_is_kept_and_never_proposed(staff: Any, submitted: str) -> None:
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"})
    await draft(manager, "IF amuont < 2000 THEN quick ELSE nobody", 0)
    check = await manager.post("/endpoints/credit/draft/check")
    assert not check["ok"]
    assert check["findings"][0]["level"] == "error"
    path = "/endpoints/credit/releases"
    assert await manager.refused("POST", path, {"justification": "x"}) == (
        422,
        "release.findings",
    )
    assert (await manager.get("/releases"))["items"] == []


async def test_a_release_that_drops_a_feature_is_refused(
    staff: Any, live: str, packages: Any
) -> None:
    fewer = {"amount": Feature(type="int", min=0, max=100_000)}
    await packages("quick", staff["scientist"], features=fewer)
    manager = staff["manager"]
    text = "IF amount < 9 THEN quick ELSE quick"
    assert (await draft(manager, text, 1, models={"quick": 2})).status == 200
    check = await manager.post("/endpoints/credit/draft/check")
    assert "contract.dropped" in [finding["code"] for finding in check["findings"]]


async def test_history_answers_what_served_and_who_approved(staff: Any, live: str) -> None:
    manager, now = staff["manager"], datetime.now(UTC)
    later = (now + timedelta(days=2)).isoformat()
    scheduled = await release(staff, "IF amount < 5 THEN quick ELSE quick", effective_from=later)
    answer = await manager.post(scheduled + "/activate")
    assert (answer["number"], [row["number"] for row in answer["scheduled"]]) == (1, [2])

    async def served(at: datetime, **known: str) -> Any:
        query = "".join(f"&{key}={quote(value)}" for key, value in known.items())
        path = f"/endpoints/credit/served?at={quote(at.isoformat())}{query}"
        return await manager.get(path)

    assert (await served(now - timedelta(days=1)))["number"] is None
    today = await served(datetime.now(UTC))
    assert (today["number"], today["approvals"][0]["approver"]) == (1, "cora@bank.example")
    assert today["models"][0]["approved_by"] == ["max@bank.example"]
    future = now + timedelta(days=3)
    assert (await served(future))["number"] == 2
    assert (await served(future, known_at=now.isoformat()))["number"] == 1


async def test_a_rollback_ends_what_was_scheduled_before_it(
    staff: Any, live: str, database_url: str
) -> None:
    manager = staff["manager"]
    second = await release(staff, "IF amount < 5 THEN quick ELSE quick")
    await manager.post(second + "/activate")
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    third = await release(staff, "IF amount < 6 THEN quick ELSE quick", effective_from=later)
    answer = await manager.post(third + "/activate")
    assert [row["number"] for row in answer["scheduled"]] == [3]
    answer = await manager.post("/endpoints/credit/rollback", {"to": 1, "reason": "incident"})
    assert (answer["number"], answer["scheduled"]) == (1, [])
    future = quote((datetime.now(UTC) + timedelta(days=3)).isoformat())
    assert (await manager.get(f"/endpoints/credit/served?at={future}"))["number"] == 1
    answer = await manager.post(third + "/activate")
    assert [row["number"] for row in answer["scheduled"]] == [3]


async def test_rollback_and_kill_switch_take_one_person(
    staff: Any, live: str, database_url: str
) -> None:
    manager = staff["manager"]
    second = await release(staff, "IF amount < 5 THEN quick ELSE quick")
    assert (await manager.post(second + "/activate"))["number"] == 2
    path = "/endpoints/credit/rollback"
    body = {"to": 7, "reason": "x"}
    assert await manager.refused("POST", path, body) == (404, "release.unknown")
    body = {"to": 1, "reason": "more declines than forecast"}
    assert (await manager.post(path, body))["number"] == 1
    assert await manager.refused("POST", path, body) == (409, "release.serving")
    assert (await manager.post("/endpoints/credit/suspend", {"reason": "x"}))["suspended"]
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT suspended FROM feed_releases")
    await manager.post("/endpoints/credit/resume", {"reason": "x"})
    assert not await connection.fetchval("SELECT suspended FROM feed_releases")
    await manager.post("/models/quick/versions/1/terminate", {"reason": "recalled"})
    assert await connection.fetchval("SELECT suspended FROM feed_releases")
    await connection.close()
    kinds = [row["kind"] for row in (await manager.get("/endpoints/credit/activations"))["items"]]
    assert kinds == ["resume", "suspend", "rollback", "activate", "activate"]


async def test_the_diff_shows_shares_of_recent_requests(
    house: Any, staff: Any, live: str, database_url: str
) -> None:
    manager = staff["manager"]
    answer = await manager.post("/endpoints/credit/draft/diff", {"traffic": "recent"})
    assert (answer["traffic"], answer["rows"]) == ("none", 0)
    connection = await asyncpg.connect(database_url)
    columns = await connection.fetch(
        "SELECT column_name AS name FROM information_schema.columns"
        " WHERE table_name = 'audit_records' AND is_nullable = 'NO'"
    )
    known = {row["name"] for row in columns}
    for number, amount in enumerate((1000, 1500, 3000, 9000)):
        row = record(number, amount)
        assert known <= row.keys()
        places = ", ".join(f"${i}" for i in range(1, len(row) + 1))
        await connection.execute(
            f"INSERT INTO audit_records ({', '.join(row)}) VALUES ({places})", *row.values()
        )
    await connection.close()
    text = "IF amount < 2000 THEN quick ELSE IF amount < 5000 THEN reject 'later' ELSE quick"
    assert (await draft(manager, text, 1)).status == 200
    answer = await manager.post("/endpoints/credit/draft/diff", {})
    assert (answer["against"], answer["traffic"], answer["rows"]) == (1, "recent", 4)
    assert (answer["changed"], answer["share"]) == (1, 0.25)
    assert answer["examples"][0]["features"] == {"amount": 3000, "months": 6}
    assert answer["examples"][0]["after"]["route"] == "reject (later)"
    assert answer["models"] == []
    meaning = answer["routing"]
    assert (meaning["verdict"], answer["decisions"]) == ("differs", None)
    assert [(each["after"]["outcome"], each["where"]) for each in meaning["regions"]] == [
        ("reject (later)", ["amount >= 2000 AND amount < 5000"])
    ]


async def test_the_diff_sees_edited_splits_reasons_and_versions() -> None:
    def compiled(text: str) -> Any:
        return compile_rules(text, features={"amount": Feature("int"), "who": Feature("string")})

    def diff(old: str, new: str) -> Any:
        rows = [Row({"amount": n, "who": f"u{n}"}, 0) for n in range(1000)]
        return _compare(compiled(old), compiled(new), Sample("recent", rows), 1, [])

    split = "IF amount >= 0 THEN SPLIT (90: a, 10: b){} SALT 's' ELSE a"
    turned = split.replace("90: a, 10: b", "10: a, 90: b")
    drawn = diff(split.format(" BY who"), turned.format(" BY who"))
    assert 700 < drawn.changed < 900
    assert {move.before.route + move.after.route for move in drawn.moves} == {"ab"}
    assert diff(split.format(""), turned.format("")).changed == 1000  # the unit is not known
    assert diff(split.format(""), split.format("")).changed == 0
    reason = "IF amount >= 500 THEN REJECT '{}' ELSE a"
    assert diff(reason.format("late"), reason.format("poor")).changed == 500
    pinned = "IF amount >= 500 THEN a @ {} ELSE a"
    assert diff(pinned.format(1), pinned.format(2)).changed == 500
    live = ReleaseContent("e", 1, {}, OUTPUT, {}, (ModelRef("a", 1, "x"), ModelRef("b", 1, "y")))
    found = model_changes(live, Draft(rules={}, models={"a": 2, "c": 1}))
    assert [(each.name, each.before, each.after) for each in found] == [
        ("a", 1, 2), ("b", 1, None), ("c", None, 1),
    ]  # fmt: skip


def record(number: int, amount: int) -> dict[str, Any]:
    """A record as the shipper writes it."""
    now = datetime.now(UTC)
    stamp = int(now.timestamp() * 1000) << 80
    return {
        "id": UUID(int=stamp | 7 << 76 | 2 << 62 | number),
        "received_at": now,
        "decided_at": now,
        "endpoint": "credit",
        "release": 1,
        "rule": "default",
        "unknown": [],
        "key_id": "k",
        "status": 200,
        "durability": "process",
        "retention_class": "default",
        "features": b'{"amount": %d, "months": 6}' % amount,
        "defaults": [],
        "latency_us": 100,
        "explain": 0,
        "rows": 1,
        "schema_version": 1,
        "writer": "n/b/0",
        "seq": number + 1,
        "batch": 1,
        "leaf": number,
    }


async def test_the_same_create_again_gets_the_first_answer(staff: Any, database_url: str) -> None:
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"}, Idempotency_Key="e1")
    again = await manager.call("POST", "/endpoints", {"name": "credit"}, Idempotency_Key="e1")
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    other = {"name": "other"}
    assert await manager.refused("POST", "/endpoints", other, Idempotency_Key="e1") == (
        409,
        "idempotency.mismatch",
    )
    body = {"endpoint": "credit", "name": "web"}
    first = await manager.post("/keys", body, Idempotency_Key="k1")
    assert await manager.post("/keys", body, Idempotency_Key="k1") == first
    assert len((await manager.get("/keys"))["items"]) == 1
    connection = await asyncpg.connect(database_url)
    kept = b"".join(
        bytes(row["answer"]) for row in await connection.fetch("SELECT * FROM remembered_answers")
    )
    await connection.close()
    assert first["key"].encode() not in kept
    await manager.house.log_in(manager)
    assert await manager.refused("POST", "/keys", body, Idempotency_Key="k1") == (
        409,
        "idempotency.session",
    )


async def test_a_refused_create_can_be_tried_again_under_its_key(staff: Any) -> None:
    manager = staff["manager"]
    body = {"endpoint": "credit", "name": "web"}
    assert (await manager.refused("POST", "/keys", body, Idempotency_Key="k1"))[0] == 404
    await manager.post("/endpoints", {"name": "credit"})
    assert (await manager.post("/keys", body, Idempotency_Key="k1"))["key"].startswith("ilk_")


async def test_keys_rotate_with_an_overlap_and_end(staff: Any, database_url: str) -> None:
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"})
    old = await manager.post("/keys", {"endpoint": "credit", "name": "web"})
    new = await manager.post(f"/keys/{old['id']}/rotate", {"overlap_s": 60})
    assert new["replaces"] == old["id"]
    rows = {row["id"]: row for row in (await manager.get("/keys"))["items"]}
    assert rows[old["id"]]["expires_at"] is not None
    assert (await manager.call("DELETE", f"/keys/{old['id']}")).status == 204
    assert await manager.refused("DELETE", f"/keys/{old['id']}") == (404, "key.unknown")
    assert await manager.refused("POST", f"/keys/{old['id']}/rotate", {}) == (409, "key.revoked")
    past = {"endpoint": "credit", "name": "w", "expires_at": "2020-01-01T00:00:00Z"}
    assert await manager.refused("POST", "/keys", past) == (422, "key.expired")


async def test_limits_of_a_key_reach_the_routers_and_outlive_its_rotation(
    staff: Any, database_url: str
) -> None:
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"})
    limits = {"rate_per_s": 50, "burst": 80, "in_flight": 4}
    body = {"endpoint": "credit", "name": "web", "limits": limits}
    made = await manager.post("/keys", body)
    new = await manager.post(f"/keys/{made['id']}/rotate", {})
    assert (await manager.call("PUT", f"/keys/{made['id']}/limits", {"rate_per_s": 5})).status < 300
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT key_id, rate_per_s, burst, in_flight FROM feed_keys")
    await connection.close()
    found = {row[0]: tuple(row)[1:] for row in rows}
    assert found == {made["id"]: (5.0, None, None), new["id"]: (50.0, 80, 4)}
    lone = {"endpoint": "credit", "name": "w", "limits": {"burst": 5}}
    assert await manager.refused("POST", "/keys", lone) == (422, "key.burst")
    negative = {"endpoint": "credit", "name": "w", "limits": {"rate_per_s": -1}}
    assert (await manager.refused("POST", "/keys", negative))[0] == 400
    await manager.call("DELETE", f"/keys/{new['id']}")
    assert await manager.refused("PUT", f"/keys/{new['id']}/limits", {}) == (404, "key.unknown")


async def test_lists_come_in_pages(staff: Any) -> None:
    manager = staff["manager"]
    for number in range(5):
        await manager.post("/endpoints", {"name": f"e{number}"})
    first = await manager.get("/endpoints?limit=2")
    second = await manager.get(f"/endpoints?limit=2&cursor={first['next']}")
    third = await manager.get(f"/endpoints?limit=2&cursor={second['next']}")
    names = [row["name"] for page in (first, second, third) for row in page["items"]]
    assert (names, third["next"]) == (["e0", "e1", "e2", "e3", "e4"], None)
    for path in ("/endpoints", "/users", "/releases", "/keys", "/nodes", "/log", "/models"):
        assert await manager.refused("GET", f"{path}?cursor=nonsense") == (422, "page.cursor")
        assert (await manager.call("GET", f"{path}?limit=0")).status == 400
