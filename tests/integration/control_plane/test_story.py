"""From a trained version to a release in service, as four people do it, with every refusal."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from compiler.identity import Trust
from router.release.spec import ReleaseBundle
from router.release.verify import verify_release

RULES = {"text": "IF amount < 2000 AND months <= 12 THEN quick ELSE careful"}
DECISIONS = {"text": "IF probability.bad < 0.3 THEN approve ELSE decline"}


async def test_a_release_needs_two_people_and_reaches_the_feed(
    house: Any, staff: Any, packages: Any, role_url: Any, redis_url: str
) -> None:
    scientist, manager, second = staff["scientist"], staff["manager"], staff["second"]
    rings = await house.listen(redis_url)
    for model in ("quick", "careful"):
        await packages(model, scientist)
        path = f"/models/{model}/versions/1"
        await scientist.post(path + "/submit")
        answer = await scientist.call("POST", path + "/approve", {"envelope": "{}"})
        assert (answer.status, answer.code) == (403, "approval.own_work")
        answer = await manager.call("GET", path + "/statement")
        assert (answer.status, answer.code) == (409, "approval.report_unread")
        for report in await manager.get(path + "/reports"):
            await manager.get(f"{path}/reports/{report['name']}")
        statement = await manager.get(path + "/statement")
        standing = await manager.post(path + "/approve", manager.sign(statement))
        assert standing["state"] == "approved"

    await manager.post("/endpoints", {"name": "credit", "owner": manager.email})
    draft = {
        "rules": RULES,
        "decision_table": DECISIONS,
        "models": {"quick": 1, "careful": 1},
        "policies": {"explain": "adverse"},
    }
    answer = await manager.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    assert (answer.status, answer.headers["etag"]) == (200, '"1"')
    check = await manager.post("/endpoints/credit/draft/check")
    assert check["ok"], check

    release = await manager.post("/endpoints/credit/releases", {"justification": "first"})
    assert (release["state"], release["number"]) == ("proposed", 1)
    path = f"/releases/{release['id']}"
    answer = await manager.call("POST", path + "/activate")
    assert (answer.status, answer.code) == (409, "release.not_approved")
    answer = await manager.call("POST", path + "/approve", {"envelope": "{}"})
    assert (answer.status, answer.code) == (403, "approval.own_edit")
    statement = await second.get(path + "/statement")
    assert (await second.post(path + "/approve", second.sign(statement)))["state"] == "approved"
    serving = await manager.post(path + "/activate")
    assert (serving["number"], serving["suspended"]) == (1, False)
    assert await rings() == "credit"

    key = await manager.post("/keys", {"endpoint": "credit", "name": "web"})
    connection = await asyncpg.connect(role_url("interlock_router"))
    feed = await connection.fetchrow("SELECT * FROM feed_releases")
    keys = await connection.fetchrow("SELECT * FROM feed_keys")
    roster = await connection.fetchrow("SELECT * FROM feed_roster")
    await connection.close()
    bundle = msgspec.msgpack.decode(feed["bundle"], type=ReleaseBundle)
    trust = Trust.from_roster(bytes(roster["envelope"]), house.root.public, now=house.now())
    content, digest = verify_release(bundle, trust, endpoint="credit", number=1)
    assert (digest, content.proposed_by) == (feed["digest"], manager.email)
    assert len(bundle.model_approvals) == 2
    assert keys["key_hash"] == house.sha256(key["key"])
    assert "key" not in (await manager.get("/keys"))["items"][0]

    served = await manager.get("/endpoints/credit/served")
    assert [a["approver"] for a in served["approvals"]] == [second.email]
    assert {m["name"]: m["approved_by"] for m in served["models"]} == {
        "quick": [manager.email],
        "careful": [manager.email],
    }
    version = await manager.get("/models/quick/versions/1")
    assert [event["state"] for event in version["history"]] == [
        "draft", "validated", "submitted", "approved", "deployed",
    ]  # fmt: skip
    assert version["contributors"] == [scientist.email]
