"""The compliance setup of a trained version, answered by the system and by people."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from control_plane.compliance import policy
from control_plane.db.pool import Pool
from control_plane.registry import service as registry
from control_plane.settings import PoolSettings

PATH = "/models/quick/versions/1"


def manifest():
    return msgspec.json.encode(
        {
            "name": "quick",
            "version": 1,
            "contributors": ["dan@bank.example"],
            "recipe": {"estimator": "logistic_regression", "params": {"C": 1.0}},
            "lineage": {"source": "a test", "licence": "none", "seed": 7, "snapshot": "",
                        "libraries": {"numpy": "2"}, "protected": ["age"], "dataset": "loans",
                        "split": {"train_rows": 3, "test_rows": 1, "stratified": True}},
            "parity": {"tolerance": 1e-5},
            "graph": {"family": "linear"},
            "files": {"explain.npz": {"sha256": "0", "bytes": 1}},
            "metrics": {"roc_auc": 0.8},
        },
        order="sorted",
    )  # fmt: skip


@pytest.fixture
async def pool(database_url):
    async with Pool(PoolSettings(database_url)) as pool:
        yield pool


@pytest.fixture
async def quick(staff, pool):
    """Version 1 of model quick, with a package and its reports."""
    raw = manifest()
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    async with pool.transaction() as connection:
        await registry.reserve_version(connection, "quick", "dan@bank.example")
        await registry.register_package(connection, "quick", 1, digest, raw)
        for name in ("predictions-1", "drift-1", "explanations-1", "fairness-1"):
            await registry.add_report(
                connection,
                "quick",
                1,
                name,
                media_type="application/json",
                content=msgspec.json.encode({"is": name}),
            )
    return digest


def scores(setup):
    return {s["key"]: s["score"] for s in setup["score"]["sections"]}


def items(setup):
    return {a["item"]: a for a in setup["answers"]}


async def answer_all(author, reviewer):
    setup = await author.post(f"{PATH}/compliance/fill")
    for item in policy.items():
        if item not in items(setup):
            await author.post(f"{PATH}/compliance/answers", {"item": item, "value": "said"})
            await reviewer.post(f"{PATH}/compliance/answers/{item}/review")


async def approve(person):
    for row in await person.get(f"{PATH}/reports"):
        await person.call("GET", f"{PATH}/reports/{row['name']}")
    statement = await person.get(f"{PATH}/statement")
    return await person.call("POST", f"{PATH}/approve", person.sign(statement))


async def test_system_answers_what_it_can_prove(staff, quick):
    setup = await staff["scientist"].post(f"{PATH}/compliance/fill")
    found = items(setup)
    assert found["S1.identity"]["evidence"] == quick
    assert found["S5.drift"]["value"] == "report drift-1"
    assert found["S5.drift"]["evidence"].startswith("sha256:")
    assert found["S3.split"]["value"] == "3 training and 1 held-out rows, stratified, seeded"
    assert "S3.consent" not in found
    again = await staff["scientist"].post(f"{PATH}/compliance/fill")
    assert items(again)["S1.identity"]["at"] == found["S1.identity"]["at"]


async def test_own_answer_cannot_be_reviewed(staff, quick):
    dan, cora = staff["scientist"], staff["compliance"]
    body = {"item": "S2.decision", "value": "small loans"}
    await cora.post(f"{PATH}/compliance/answers", body)
    own = await cora.call("POST", f"{PATH}/compliance/answers/S2.decision/review")
    assert (own.status, own.code) == (403, "compliance.own_answer")
    denied = await dan.call("POST", f"{PATH}/compliance/answers/S2.decision/review")
    assert denied.code == "permission.denied"
    setup = await staff["manager"].post(f"{PATH}/compliance/answers/S2.decision/review")
    assert items(setup)["S2.decision"]["reviewer"] == "mia@bank.example"


async def test_invented_evidence_and_unknown_items_are_refused(staff, quick):
    dan = staff["scientist"]
    path = f"{PATH}/compliance/answers"
    invented = {"item": "S2.decision", "value": "x", "evidence": "sha256:" + "0" * 64}
    assert (await dan.call("POST", path, invented)).code == "compliance.evidence"
    real = {"item": "S2.decision", "value": "x", "evidence": quick}
    assert (await dan.call("POST", path, real)).status == 201
    assert (await dan.call("POST", path, {"item": "S99.x", "value": "x"})).code == "compliance.item"
    blank = {"item": "S2.decision", "value": " "}
    assert (await dan.call("POST", path, blank)).code == "compliance.value"


async def test_approval_waits_for_a_score_without_open_mandatory_sections(staff, quick):
    dan, cora, mia = staff["scientist"], staff["compliance"], staff["manager"]
    answer = await cora.call("PUT", "/models/quick/compliance", {"profile": "credit_us"})
    assert answer.status == 200, answer.raw
    await dan.post(f"{PATH}/submit")
    assert (await approve(mia)).code == "approval.compliance_unscored"
    found = await dan.post(f"{PATH}/compliance/score")
    assert (found["status"], found["mandatory"]) == ("fail", 8)
    refused = await approve(mia)
    assert refused.code == "approval.compliance_open"
    assert "S7 Explainability and reasons (0.0 of 100)" in refused.body["detail"], refused.raw
    await answer_all(dan, cora)
    assert (await approve(mia)).code == "approval.compliance_unscored"
    found = await dan.post(f"{PATH}/compliance/score")
    assert found["status"] == "pass", found
    answer = await approve(mia)
    assert answer.status < 300, answer.raw


async def test_past_score_can_be_recomputed(staff, quick, pool):
    dan = staff["scientist"]
    before = await dan.get(f"{PATH}/compliance")
    await dan.post(f"{PATH}/compliance/fill")
    after = await dan.get(f"{PATH}/compliance")
    assert after["score"]["overall"] > before["score"]["overall"]
    at = before["score"]["at"].replace("+", "%2B")
    past = await dan.get(f"{PATH}/compliance?at={at}")
    assert past["score"]["overall"] == before["score"]["overall"]
    assert past["answers"] == []


async def test_text_is_carried_to_the_next_version_at_half_its_worth(staff, quick, pool):
    dan = staff["scientist"]
    await dan.post(f"{PATH}/compliance/answers", {"item": "S2.decision", "value": "small loans"})
    async with pool.transaction() as connection:
        await registry.reserve_version(connection, "quick", "dan@bank.example")
    setup = await dan.post("/models/quick/versions/2/compliance/fill")
    carried = items(setup)["S2.decision"]
    assert (carried["value"], carried["carried"]) == ("small loans", True)


async def test_findings_cap_until_they_are_closed(staff, quick):
    dan, cora = staff["scientist"], staff["compliance"]
    await answer_all(dan, cora)
    body = {"section": "S5", "severity": "high", "text": "small test set", "owner": "dan",
            "due": "2027-01-31"}  # fmt: skip
    setup = await cora.post(f"{PATH}/compliance/findings", body)
    assert scores(setup)["S5"] == 74.0
    finding = setup["findings"][0]["id"]
    close = f"{PATH}/compliance/findings/{finding}/close"
    setup = await cora.post(close, {"reason": "more rows came"})
    assert scores(setup)["S5"] > 74.0
    assert (await cora.call("POST", close, {"reason": "again"})).code == "finding.unknown"


async def test_monitoring_takes_two_people(staff, quick):
    mia, cora = staff["manager"], staff["compliance"]
    path, why = f"{PATH}/monitoring", {"reason": "goes live"}
    early = await cora.call("POST", f"{path}/register", why)
    assert (early.status, early.code) == (409, "monitoring.not_proposed")
    assert (await cora.call("POST", f"{path}/propose", why)).code == "permission.denied"
    await mia.post(f"{path}/propose", why)
    steps = await cora.post(f"{path}/register", why)
    assert set(steps) == {"proposed", "registered"}


async def test_unknown_profile_and_model_are_named(staff, quick):
    cora = staff["compliance"]
    answer = await cora.call("PUT", "/models/quick/compliance", {"profile": "moon"})
    assert answer.code == "profile.unknown"
    assert "credit_us" in answer.body["hint"]
    answer = await cora.call("PUT", "/models/slow/compliance", {"profile": "general"})
    assert answer.code == "model.unknown"
