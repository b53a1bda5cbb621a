"""What a reviewer is shown: what changes, on which rows, what served when, what differs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

DATASET = {"name": "loans", "task": "classification", "target": "y", "positive": "bad",
           "favourable": "good", "source": "made", "licence": "none"}  # fmt: skip
RULES = "IF amount < 2000 THEN quick ELSE quick"
"""The release in service; see the fixture `proposed`."""


def loans(count: int, step: int) -> bytes:
    """A file with amounts 0, step, 2 * step, ..."""
    rows = [f"{n * step},{1 + n % 40},{'bad' if n % 3 else 'good'}" for n in range(count)]
    return "\n".join(["amount,months,y", *rows]).encode()


async def uploaded(person: Any, body: bytes) -> str:
    """Digest of a new snapshot."""
    made = await person.post("/datasets/loans/snapshots", body, content_type="text/csv")
    return str(made["snapshot"])


async def validated(db: Any, model: str, version: int, snapshot: str) -> None:
    """A validation of a version on a snapshot, as the worker leaves it."""
    job = await db.fetchval(
        "INSERT INTO jobs (kind, payload, created_by) VALUES ('validate', '{}', 'x') RETURNING id"
    )
    await db.execute(
        "INSERT INTO validations (job, model, version, number, package, dataset, snapshot, options,"
        " created_by, summary, breached, finished_at) SELECT $1, model, version, 1, digest,"
        " 'loans', $4, '{}', 'x', '{}', false, clock_timestamp() FROM model_packages"
        " WHERE model = $2 AND version = $3",
        job, model, version, snapshot,
    )  # fmt: skip


@pytest.fixture
async def live(staff: Any, proposed: str) -> str:
    """The first release, in service: everything goes to quick."""
    await staff["compliance"].approve(proposed)
    await staff["manager"].post(proposed + "/activate")
    return proposed


async def edited(manager: Any, text: str, **models: int) -> None:
    """The next draft."""
    view = await manager.get("/endpoints/credit/draft")
    draft = {"rules": {"text": text}, "models": models}
    answer = await manager.call(
        "PUT", "/endpoints/credit/draft", draft, If_Match=f'"{view["revision"]}"'
    )
    assert answer.status == 200, answer.raw


async def test_without_traffic_the_diff_takes_the_validation_snapshot_and_says_which(
    staff: Any, live: str, packages: Any, db: Any
) -> None:
    dan, manager = staff["scientist"], staff["manager"]
    await dan.post("/datasets", DATASET)
    trained = await uploaded(dan, loans(40, 100))
    judged = await uploaded(dan, loans(50, 200))
    await packages("quick", dan, lineage={"seed": 7, "snapshot": trained})
    await edited(manager, "IF amount < 1000 THEN quick ELSE reject 'too much'", quick=2)
    answer = await manager.post("/endpoints/credit/draft/diff", {"traffic": "recent"})
    assert answer["traffic"] == f"snapshot {trained} (training of quick)"
    assert (answer["rows"], answer["changed"], answer["share"]) == (40, 30, 0.75)
    await validated(db, "quick", 2, judged)
    answer = await manager.post("/endpoints/credit/draft/diff", {"traffic": "recent"})
    assert answer["traffic"] == f"snapshot {judged} (validation 1 of quick)"
    assert (answer["rows"], answer["changed"], answer["share"]) == (50, 45, 0.9)
    assert (answer["against"], answer["models"]) == (
        1, [{"name": "quick", "before": 1, "after": 2}],
    )  # fmt: skip
    assert sum(move["rows"] for move in answer["moves"]) == 45
    assert sum(move["share"] for move in answer["moves"]) == pytest.approx(0.9)
    examples = answer["examples"]
    assert len(examples) == 10
    for example in examples:
        assert example["before"]["route"].startswith("quick")
        assert example["after"]["route"] == "reject (too much)"
        assert example["features"]["amount"] >= 1000
        assert set(example["features"]) == {"amount", "months"}
        assert example["record"] is None
    assert len({example["features"]["amount"] for example in examples}) == 10
    answer = await manager.post("/endpoints/credit/draft/diff", {"traffic": "none"})
    assert (answer["traffic"], answer["rows"], answer["share"]) == ("none", 0, None)


async def test_a_snapshot_that_is_gone_is_not_what_a_diff_is_shown_on(
    house: Any, staff: Any, live: str, packages: Any
) -> None:
    dan, manager = staff["scientist"], staff["manager"]
    await dan.post("/datasets", DATASET)
    await packages("quick", dan, lineage={"seed": 7, "snapshot": "sha256:" + "5" * 64})
    await edited(manager, "IF amount < 1000 THEN quick ELSE reject 'x'", quick=2)
    answer = await manager.post("/endpoints/credit/draft/diff", {})
    assert (answer["traffic"], answer["examples"]) == ("none", [])


async def test_what_served_is_one_call_in_two_times(staff: Any, live: str, db: Any) -> None:
    """A release scheduled for the day after tomorrow, recalled by a rollback before it came."""
    manager = staff["manager"]
    first = datetime.now(UTC)
    later = first + timedelta(days=2)
    await edited(manager, "IF amount < 7 THEN quick ELSE quick", quick=1)
    body = {"justification": "second", "effective_from": later.isoformat()}
    second = "/releases/" + (await manager.post("/endpoints/credit/releases", body))["id"]
    await staff["compliance"].approve(second)
    await manager.post(second + "/activate")
    known_then = datetime.now(UTC)
    await edited(manager, "IF amount < 8 THEN quick ELSE quick", quick=1)
    body = {"justification": "third"}
    third = "/releases/" + (await manager.post("/endpoints/credit/releases", body))["id"]
    await staff["compliance"].approve(third)
    await manager.post(third + "/activate")
    await manager.post("/endpoints/credit/rollback", {"to": 1, "reason": "back"})

    async def served(at: datetime, known: datetime | None = None) -> Any:
        query = f"at={quote(at.isoformat())}"
        if known is not None:
            query += f"&known_at={quote(known.isoformat())}"
        return await manager.get(f"/endpoints/credit/served?{query}")

    future, now = later + timedelta(hours=1), datetime.now(UTC)
    assert (await served(future, known_then))["number"] == 2
    assert (await served(future))["number"] == 1
    assert (await served(now, known_then))["number"] == 1
    assert (await served(first - timedelta(days=1)))["number"] is None
    today = await served(now)
    assert (today["number"], today["activation"]["kind"]) == (1, "rollback")
    assert (today["proposed_by"], today["justification"]) == (manager.email, "first")
    assert [each["approver"] for each in today["approvals"]] == ["cora@bank.example"]
    (model,) = today["models"]
    assert (model["name"], model["version"], model["approved_by"], model["contributors"]) == (
        "quick", 1, ["max@bank.example"], ["dan@bank.example"],
    )  # fmt: skip
    stored = await db.fetchval("SELECT digest FROM model_packages WHERE model = 'quick'")
    assert model["package"] == stored
    kept = await db.fetchval("SELECT count(*) FROM activations")
    assert kept == 4


async def test_two_versions_are_compared_field_by_field(staff: Any, packages: Any) -> None:
    dan = staff["scientist"]
    await packages("quick", dan)
    await packages("quick", dan, metrics={"auc": 0.9}, recipe={"estimator": "decision_tree"})
    answer = await dan.get("/models/quick/compare?before=1&after=2")
    found = {row["at"]: (row["before"], row["after"]) for row in answer["differences"]}
    assert found["metrics.auc"] == (0.8, 0.9)
    assert found["recipe.estimator"] == ("logistic_regression", "decision_tree")
    assert answer["same_features"] is True
    same = await dan.get("/models/quick/compare?before=2&after=2")
    assert same["differences"] == []
    assert (await dan.refused("GET", "/models/quick/compare?before=1&after=9"))[0] == 404
    assert msgspec.json.encode(answer)
