"""Training through the API and a real worker: what a run shows, leaves, and survives."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from compiler.identity import Trust
from compiler.package import read_package, verify_signature
from control_plane.jobs.schemas import ENDED
from control_plane.jobs.worker import Worker
from control_plane.settings import WorkerSettings
from serving.store import ArtifactStore

CREDIT = {
    "name": "german_credit",
    "task": "classification",
    "target": "creditability",
    "positive": "bad",
    "protected": ["personal_status_and_sex", "age_in_years", "foreign_worker"],
    "source": "Statlog (German Credit Data), UCI Machine Learning Repository",
    "licence": "CC BY 4.0",
}


def recipe(estimator="logistic_regression", **params):
    return {"estimator": estimator, "params": params, "seed": 7}


def order(**changes):
    body = {"dataset": "german_credit", "model": "quick", "recipe": recipe()}
    return body | {"test_fraction": 0.25} | changes


@pytest.fixture
def worker_settings(control_settings, house, role_url):
    home = control_settings.home
    house.builder.save(home / "builder.key")
    return WorkerSettings(
        role_url("interlock_worker"),
        control_settings.artifact_store,
        home,
        home / "builder.key",
        poll_s=0.2,
    )


@asynccontextmanager
async def working(settings, slots=1):
    worker = Worker(settings, slots=slots)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def dan(staff):
    dan = staff["scientist"]
    await dan.post("/datasets", CREDIT)
    data = (files("interlock") / "data" / "german_credit.csv").read_bytes()
    await dan.post("/datasets/german_credit/snapshots", data, content_type="text/csv")
    return dan


async def follow(person, run):
    seen = []
    async with asyncio.timeout(120):
        while True:
            body = await person.get(f"/runs/{run}")
            seen.append(body["progress"])
            if body["state"] in ENDED:
                return body, seen
            await asyncio.sleep(0.1)


async def test_run_leaves_a_signed_validated_version_with_reports(
    dan, staff, house, worker_settings
):
    answer = await dan.call("POST", "/runs", order())
    assert answer.status == 202, answer.raw
    assert (answer.body["model"], answer.body["version"]) == ("quick", 1)
    async with working(worker_settings):
        run, seen = await follow(dan, answer.body["id"])
    assert run["state"] == "succeeded", run
    assert seen == sorted(seen)
    assert 0.70 < run["metrics"]["roc_auc"] < 0.90
    low, high = run["metrics"]["intervals"]["roc_auc"]
    assert low < run["metrics"]["roc_auc"] < high
    assert sum(map(sum, run["metrics"]["confusion"]["counts"])) == 250
    assert run["parity"]["passed"] is True
    folder = ArtifactStore.open(worker_settings.artifact_store).fetch(run["package"])
    package = read_package(folder, expected_digest=run["package"])
    assert package.manifest.contributors == (dan.email,)
    assert package.manifest.lineage["snapshot"] == run["snapshot"]
    assert package.manifest.lineage["split"]["test_rows"] == 250
    kept_out = set(package.manifest.lineage["protected"])
    assert kept_out == set(CREDIT["protected"])
    trust = Trust.from_roster(house.roster(), house.root.public, now=datetime.now(UTC))
    assert verify_signature(package, trust) == "builder"
    version = await staff["manager"].get("/models/quick/versions/1")
    assert version["state"] == "validated"
    reports = await staff["manager"].get("/models/quick/versions/1/reports")
    rows = reports["items"] if isinstance(reports, dict) else reports
    assert {"validation", "parity"} <= {row["name"] for row in rows}


async def test_owner_of_a_service_account_stands_in_the_manifest_that_routers_read(
    dan, staff, worker_settings
):
    admin = staff["admin"]
    body = {"name": "nightly", "owner": dan.email, "role": "data_scientist"}
    robot = await admin.post("/services", body)
    made = await admin.post(f"/services/{robot['email']}/tokens", {"name": "ci"})
    account = type(dan)(dan.house, robot["email"], dan.key)
    account.token = made["token"]
    answer = await account.call("POST", "/runs", order())
    assert answer.status == 202, answer.raw
    async with working(worker_settings):
        run, _ = await follow(account, answer.body["id"])
    assert run["state"] == "succeeded", run
    folder = ArtifactStore.open(worker_settings.artifact_store).fetch(run["package"])
    manifest = read_package(folder, expected_digest=run["package"]).manifest
    assert manifest.contributors == (robot["email"], dan.email)


async def test_failed_run_says_why_and_the_next_version_gets_a_new_number(dan, worker_settings):
    bad = await dan.call("POST", "/runs", order(recipe=recipe(C=-1.0)))
    good = await dan.call("POST", "/runs", order())
    async with working(worker_settings):
        failed, _ = await follow(dan, bad.body["id"])
        done, _ = await follow(dan, good.body["id"])
    assert (failed["state"], failed["error"]["code"]) == ("failed", "run.fit")
    assert failed["package"] is None
    assert (done["state"], done["version"]) == ("succeeded", 2)


BAD_ORDERS = (
    ({"dataset": "nothing"}, 404, "dataset.unknown"),
    ({"snapshot": "9"}, 404, "snapshot.unknown"),
    ({"test_fraction": 0.9}, 422, "run.test_fraction"),
    ({"recipe": recipe("deep_thought")}, 422, "estimator.unsupported"),
    ({"recipe": {"estimator": "random_forest", "seed": -1}}, 422, "run.seed"),
    ({"exclude": ["shoe_size"]}, 422, "run.exclude"),
    ({"model": "No Model"}, 422, "name.invalid"),
)


async def test_orders_that_cannot_be_trained_are_refused_before_a_version_is_used(dan):
    for change, status, code in BAD_ORDERS:
        answer = await dan.call("POST", "/runs", order(**change))
        assert (answer.status, answer.code) == (status, code), change
    assert (await dan.get("/runs"))["items"] == []
    assert (await dan.get("/models"))["items"] == []


async def test_leaking_column_is_refused_until_it_is_excluded(dan):
    data = (files("interlock") / "data" / "german_credit.csv").read_text().splitlines()
    rows = [data[0] + ",outcome_code"]
    rows += [line + (",1" if line.endswith(",bad") else ",2") for line in data[1:]]
    body = "\n".join(rows).encode()
    await dan.post("/datasets/german_credit/snapshots", body, content_type="text/csv")
    refused = await dan.call("POST", "/runs", order())
    assert (refused.status, refused.code) == (409, "run.column.leak")
    assert refused.body["at"] == "outcome_code"
    answer = await dan.call("POST", "/runs", order(exclude=["outcome_code"]))
    assert answer.status == 202


async def test_cancelled_run_ends_and_leaves_no_version_package(dan, worker_settings):
    slow = order(recipe=recipe("random_forest", n_estimators=20_000))
    answer = await dan.call("POST", "/runs", slow)
    run = answer.body["id"]
    async with working(worker_settings):
        async with asyncio.timeout(60):
            while (await dan.get(f"/runs/{run}"))["progress"] < 0.1:
                await asyncio.sleep(0.05)
        await dan.post(f"/runs/{run}/cancel")
        body, _ = await follow(dan, run)
    assert body["state"] == "cancelled"
    version = await dan.get("/models/quick/versions/1")
    assert version["state"] == "draft"
    packages = Path(worker_settings.artifact_store) / "packages"
    assert not packages.exists() or list(packages.iterdir()) == []


def search(**changes):
    spec = {"trials": 6, "seconds": 300, "folds": 3, "seed": 5,
            "estimators": ["logistic_regression", "decision_tree"]}  # fmt: skip
    return order(recipe=None, search=spec | changes)


async def test_search_keeps_every_trial_and_its_winner_is_reproduced_bit_for_bit(
    dan, worker_settings
):
    answer = await dan.call("POST", "/runs", search())
    assert answer.status == 202, answer.raw
    async with working(worker_settings):
        run, seen = await follow(dan, answer.body["id"])
        assert run["state"] == "succeeded", run
        assert seen == sorted(seen)
        board = (await dan.get(f"/runs/{run['id']}/trials"))["items"]
        winner = board[0]
        again = await dan.call("POST", "/runs", order(recipe=spec_of(winner["recipe"])))
        repeated, _ = await follow(dan, again.body["id"])
    assert sorted(trial["number"] for trial in board) == list(range(6))
    complete = [trial["score"] for trial in board if trial["state"] == "complete"]
    assert complete == sorted(complete, reverse=True)
    assert winner["metrics"]["interval"][0] < winner["score"] < winner["metrics"]["interval"][1]
    assert winner["snapshot"] == run["snapshot"]
    assert "scikit-learn" in winner["libraries"]
    assert run["recipe"] == repeated["recipe"]
    assert model_file(worker_settings, run) == model_file(worker_settings, repeated)


def spec_of(recipe):
    return {name: value for name, value in recipe.items() if name != "task"}


def model_file(settings, run):
    folder = ArtifactStore.open(settings.artifact_store).fetch(run["package"])
    return read_package(folder).manifest.files["model.onnx"]


async def test_killed_search_goes_on_after_its_kept_trials(dan, worker_settings, database_url):
    import os
    import signal

    answer = await dan.call("POST", "/runs", search(trials=12))
    run = answer.body["id"]
    async with working(worker_settings):
        async with asyncio.timeout(60):
            while len((await dan.get(f"/runs/{run}/trials"))["items"]) < 3:
                await asyncio.sleep(0.05)
        for child in children():
            os.kill(child, signal.SIGKILL)
        body, _ = await follow(dan, run)
    assert body["state"] == "succeeded", body
    detail = await dan.get(f"/jobs/{body['job']}")
    assert [attempt["outcome"] for attempt in detail["attempts"]] == ["retried", "succeeded"]
    assert any("going on after" in line["line"] for line in detail["log"])
    board = (await dan.get(f"/runs/{run}/trials"))["items"]
    assert sorted(trial["number"] for trial in board) == list(range(12))


@pytest.mark.parametrize("seed", range(4))
async def test_run_killed_at_a_random_moment_ends_in_a_stated_state_and_leaves_nothing_half(
    dan, worker_settings, seed
):
    import os
    import random
    import signal

    moment = random.Random(seed).uniform(0.0, 1.5)
    answer = await dan.call("POST", "/runs", order(recipe=recipe("gradient_boosting")))
    async with working(worker_settings):
        async with asyncio.timeout(60):
            while not (killed := children()):
                await asyncio.sleep(0.01)
        await asyncio.sleep(moment)
        for child in killed:
            os.kill(child, signal.SIGKILL)
        body, _ = await follow(dan, answer.body["id"])
    assert body["state"] == "succeeded", body
    packages = Path(worker_settings.artifact_store) / "packages"
    assert [f"sha256:{each.name}" for each in packages.iterdir()] == [body["package"]]
    read_package(packages / body["package"].removeprefix("sha256:"))
    assert list(worker_settings.home.rglob("build-*")) == []
    assert list((worker_settings.home / "jobs").iterdir()) == []
    versions = (await dan.get("/models/quick/versions"))["items"]
    assert [(each["version"], each["state"]) for each in versions] == [(1, "validated")]


def children():
    """Process ids of the job processes that this test's worker started."""
    import os

    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[1]) == os.getpid() and b"control_plane.jobs.child" in line:
                found.append(int(entry.name))
    return found


BAD_SEARCHES = (
    ({"trials": 0}, "run.trials"),
    ({"seconds": 0.1}, "run.seconds"),
    ({"folds": 200}, "run.folds"),
    ({"metric": "r2"}, "run.metric"),
    ({"estimators": ["svc"]}, "run.estimators"),
    ({"estimators": ["magic"]}, "estimator.unsupported"),
    ({"seed": -1}, "run.seed"),
)


async def test_searches_out_of_bounds_are_refused(dan):
    for change, code in BAD_SEARCHES:
        answer = await dan.call("POST", "/runs", search(**change))
        assert (answer.status, answer.code) == (422, code), change
    assert (await dan.call("POST", "/runs", order(recipe=None))).code == "run.recipe"
    both = search() | {"recipe": recipe()}
    assert (await dan.call("POST", "/runs", both)).code == "run.recipe"
