"""A version validated on snapshots: reports, gates, and what they block."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest

from control_plane.jobs.schemas import ENDED
from control_plane.jobs.worker import Worker
from control_plane.settings import WorkerSettings

CREDIT = {
    "name": "german_credit",
    "task": "classification",
    "target": "creditability",
    "positive": "bad",
    "favourable": "good",
    "protected": ["personal_status_and_sex", "age_in_years", "foreign_worker"],
    "source": "Statlog (German Credit Data), UCI Machine Learning Repository",
    "licence": "CC BY 4.0",
}
ORDER = {
    "dataset": "german_credit",
    "model": "quick",
    "recipe": {"estimator": "logistic_regression", "seed": 7},
}


@pytest.fixture
def credit_csv():
    return (files("interlock") / "data" / "german_credit.csv").read_bytes()


@pytest.fixture
async def worker(control_settings, house, role_url):
    home = control_settings.home
    house.builder.save(home / "builder.key")
    settings = WorkerSettings(
        role_url("interlock_worker"),
        control_settings.artifact_store,
        home,
        home / "builder.key",
        poll_s=0.2,
    )
    async with running(Worker(settings, slots=1)):
        yield


@asynccontextmanager
async def running(worker):
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def dan(staff, worker, credit_csv):
    """A data scientist with a trained version 1 of model quick."""
    dan = staff["scientist"]
    await dan.post("/datasets", CREDIT)
    await dan.post("/datasets/german_credit/snapshots", credit_csv, content_type="text/csv")
    run = await dan.call("POST", "/runs", ORDER)
    assert (await follow(dan, f"/runs/{run.body['id']}"))["state"] == "succeeded"
    return dan


async def follow(person, path):
    async with asyncio.timeout(90):
        while True:
            body = await person.get(path)
            if body["state"] in ENDED:
                return body
            await asyncio.sleep(0.05)


async def validate(person, **changes):
    answer = await person.call("POST", "/validations", {"model": "quick", "version": 1} | changes)
    assert answer.status == 202, answer.raw
    return await follow(person, f"/validations/{answer.body['id']}")


async def report(person, validation, name):
    answer = await person.call("GET", f"/validations/{validation['id']}/reports/{name}")
    assert answer.status == 200, answer.raw
    return answer


async def approve(person, path):
    listed = await person.get(f"{path}/reports")
    for row in listed["items"] if isinstance(listed, dict) else listed:
        await person.call("GET", f"{path}/reports/{row['name']}")
    statement = await person.get(f"{path}/statement")
    return await person.call("POST", f"{path}/approve", person.sign(statement))


async def test_training_snapshot_is_judged_by_its_held_out_rows_in_four_reports(dan, staff):
    done = await validate(dan)
    assert done["state"] == "succeeded", done
    assert done["breached"] is False
    predictions = (await report(dan, done, "predictions")).body
    assert predictions["rows"] == 250
    version = await dan.get("/models/quick/versions/1")
    trained = version["metrics"]
    assert predictions["metrics"]["roc_auc"] == pytest.approx(trained["roc_auc"], abs=1e-6)
    fairness = (await report(dan, done, "fairness")).body
    assert {a["attribute"] for a in fairness["attributes"]} == set(CREDIT["protected"])
    assert {p["attribute"] for p in fairness["proxies"]} <= set(CREDIT["protected"])
    assert fairness["proxies"][0]["auc"] >= fairness["proxies"][-1]["auc"] >= 0.5
    drift = (await report(dan, done, "drift")).body
    assert "score" in {f["feature"] for f in drift["features"]}
    assert all(f["status"] in ("ok", "insufficient data") for f in drift["features"])
    told = (await report(dan, done, "explanations")).body
    assert told["largest_residual"] < 1e-3
    assert len(told["local"]) == 5
    page = (await report(dan, done, "page")).raw.decode()
    assert page.count("<svg") >= 5
    assert "<script" not in page
    names = {row["name"] for row in await dan.get("/models/quick/versions/1/reports")}
    assert {"predictions-1", "fairness-1", "drift-1", "explanations-1", "page-1"} <= names


async def test_shifted_snapshot_alerts_on_the_feature_that_moved_and_its_gate_refuses_by_name(
    dan, staff, credit_csv
):
    lines = credit_csv.decode().splitlines()
    head = lines[0].split(",").index("duration_in_month")
    import csv
    import io

    rows = list(csv.reader(io.StringIO(credit_csv.decode())))
    for row in rows[1:]:
        row[head] = str(int(row[head]) + 18)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    body = text.getvalue().encode()
    made = await dan.post("/datasets/german_credit/snapshots", body, content_type="text/csv")
    mia, path = staff["manager"], "/models/quick/versions/1"
    await mia.call("PUT", "/models/quick/gates", {"max_feature_psi": 0.2, "max_rmse": 1.0})
    done = await validate(dan, snapshot=made["snapshot"])
    assert done["state"] == "succeeded", done
    await dan.post(f"{path}/submit")
    refused = await approve(mia, path)
    assert (refused.status, refused.code) == (409, "approval.gate_breached")
    psi = done["summary"]["feature_psi"]
    assert psi > 0.2
    for part in (f"max_feature_psi 0.2 (found {psi})", "max_rmse 1.0 (found no figure)"):
        assert part in refused.body["detail"]
    drift = (await report(dan, done, "drift")).body["features"]
    status = {f["feature"]: f["status"] for f in drift}
    assert status["duration_in_month"] == "alert"
    assert status["purpose"] == "ok"
    predictions = (await report(dan, done, "predictions")).body
    assert predictions["rows"] == 1000


async def test_gates_block_approval_until_they_are_validated_and_held(dan, staff):
    mia, path = staff["manager"], "/models/quick/versions/1"
    assert (await dan.call("PUT", "/models/quick/gates", {})).code == "permission.denied"
    assert (await mia.call("PUT", "/models/nothing/gates", {})).code == "model.unknown"
    assert await dan.get("/models/quick/gates") == {}
    odd = {"model": "quick", "version": 1, "threshold": 1.5}
    assert (await dan.call("POST", "/validations", odd)).code == "validation.threshold"
    assert (await dan.call("POST", "/validations", odd | {"version": 9})).status in (404, 422)
    wanted = {"min_roc_auc": 0.99, "min_accuracy": 0.1, "max_cost_us": 0.001}
    answer = await mia.call("PUT", "/models/quick/gates", wanted)
    assert answer.status == 200, answer.raw
    await dan.post(f"{path}/submit")
    refused = await approve(mia, path)
    assert (refused.status, refused.code) == (409, "approval.not_validated")
    done = await validate(dan)
    assert done["breached"] is True
    assert [g["gate"] for g in done["gates"] if not g["held"]] == ["min_roc_auc", "max_cost_us"]
    refused = await approve(mia, path)
    assert (refused.status, refused.code) == (409, "approval.gate_breached")
    found = done["summary"]
    for name, limit in (("roc_auc", "min_roc_auc 0.99"), ("cost_us", "max_cost_us 0.001")):
        assert f"{limit} (found {found[name]})" in refused.body["detail"]
    assert "min_accuracy" not in refused.body["detail"]
    assert (await mia.get(path))["state"] == "submitted"
    await mia.call("PUT", "/models/quick/gates", {"min_roc_auc": 0.5})
    refused = await approve(mia, path)
    assert refused.code == "approval.not_validated"
    assert (await validate(dan))["breached"] is False
    answer = await approve(mia, path)
    assert answer.status < 300, answer.raw


async def test_a_worse_version_is_refused_by_the_gate_against_the_one_in_service(dan, staff):
    mia, second = staff["manager"], "/models/quick/versions/2"
    recipe = {"estimator": "decision_tree", "params": {"max_depth": 1}, "seed": 7}
    run = await dan.call("POST", "/runs", ORDER | {"recipe": recipe})
    assert (await follow(dan, f"/runs/{run.body['id']}"))["state"] == "succeeded"
    alone = await validate(dan, version=2)
    about = (await report(dan, alone, "predictions")).body["baseline"]
    assert (about["version"], about["worse_by"]["roc_auc_drop"]) == (None, pytest.approx(0))
    await into_service(dan, staff)
    await mia.call("PUT", "/models/quick/gates", {"max_roc_auc_drop": 0.02})
    done = await validate(dan, version=2)
    about = (await report(dan, done, "predictions")).body["baseline"]
    figures = [(await dan.get(f"/models/quick/versions/{v}"))["metrics"]["roc_auc"] for v in (1, 2)]
    assert about["version"] == 1
    assert about["metrics"]["roc_auc"] == pytest.approx(figures[0], abs=1e-6)
    drop = done["summary"]["roc_auc_drop"]
    assert drop == pytest.approx(figures[0] - figures[1], abs=1e-6)
    assert "version 1, which serves now" in (await report(dan, done, "page")).raw.decode()
    await dan.post(f"{second}/submit")
    refused = await approve(mia, second)
    assert (refused.status, refused.code) == (409, "approval.gate_breached")
    assert f"max_roc_auc_drop 0.02 (found {drop})" in refused.body["detail"]
    assert (await mia.get(second))["state"] == "submitted"


async def into_service(dan, staff):
    """Version 1 of quick, approved, released and live."""
    mia, path = staff["manager"], "/models/quick/versions/1"
    await dan.post(f"{path}/submit")
    assert (await approve(staff["second"], path)).status < 300
    await mia.post("/endpoints", {"name": "credit"})
    draft = {"rules": {"text": "IF credit_amount < 0 THEN REJECT 'no' ELSE quick"},
             "models": {"quick": 1}}  # fmt: skip
    assert (await mia.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')).status == 200
    body = {"justification": "first", "waivers": ["unreachable"]}
    release = await mia.post("/endpoints/credit/releases", body)
    await staff["compliance"].approve(f"/releases/{release['id']}")
    await mia.post(f"/releases/{release['id']}/activate")
