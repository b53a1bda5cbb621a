"""Datasets over HTTP on a real database: the German credit data as people would register it."""

from __future__ import annotations

from importlib.resources import files

import pytest

PROTECTED = ["personal_status_and_sex", "age_in_years", "foreign_worker"]
CREDIT = {
    "name": "german_credit",
    "task": "classification",
    "target": "creditability",
    "positive": "bad",
    "protected": PROTECTED,
    "source": "Statlog (German Credit Data), UCI Machine Learning Repository",
    "licence": "CC BY 4.0",
}


@pytest.fixture
def credit_csv() -> bytes:
    return (files("interlock") / "data" / "german_credit.csv").read_bytes()


async def upload(person, body, name="german_credit", kind="text/csv"):
    return await person.call("POST", f"/datasets/{name}/snapshots", body, content_type=kind)


async def test_upload_becomes_a_snapshot_with_schema_profile_and_marks(staff, credit_csv):
    dan = staff["scientist"]
    await dan.post("/datasets", CREDIT)
    answer = await upload(dan, credit_csv)
    assert answer.status == 201, answer.raw
    assert answer.body["rows"] == 1000
    assert answer.body["output"] == {"task": "classification", "classes": ["bad", "good"]}
    assert answer.body["features"]["credit_amount"] == {"type": "int"}
    marked = [name for name, f in answer.body["features"].items() if f.get("protected")]
    assert sorted(marked) == sorted(PROTECTED)
    snapshot = await dan.get("/datasets/german_credit/snapshots/latest")
    assert snapshot["digest"] == answer.body["snapshot"]
    by_name = {column["name"]: column for column in snapshot["profile"]}
    assert by_name["credit_amount"]["minimum"] == 250
    assert sum(by_name["credit_amount"]["counts"]) == 1000
    assert ["yes, registered under the customers name", 404] in by_name["telephone"]["categories"]


async def test_same_content_again_is_the_same_snapshot(staff, credit_csv):
    dan = staff["scientist"]
    await dan.post("/datasets", CREDIT)
    first = await upload(dan, credit_csv)
    again = await upload(dan, credit_csv)
    assert (first.status, again.status) == (201, 200)
    assert first.body["snapshot"] == again.body["snapshot"]
    assert not again.body["new"]
    changed = await upload(dan, credit_csv.replace(b"critical account", b"critical  account"))
    assert changed.body["number"] == 2
    listed = await dan.get("/datasets/german_credit/snapshots")
    assert [row["number"] for row in listed["items"]] == [2, 1]


async def test_refused_upload_leaves_nothing_behind(staff, credit_csv, control_settings):
    from pathlib import Path

    dan = staff["scientist"]
    await dan.post("/datasets", CREDIT)
    answer = await upload(dan, credit_csv + b'"never closed,1,2\n')
    assert answer.status == 422, answer.raw
    assert answer.body["code"].startswith("data.")
    assert (await dan.get("/datasets/german_credit/snapshots"))["items"] == []
    store = Path(control_settings.artifact_store) / "datasets"
    assert [path for path in store.rglob("*") if path.is_file()] == []


async def test_manager_reads_and_does_not_write(staff):
    answer = await staff["manager"].call("POST", "/datasets", CREDIT)
    assert (answer.status, answer.code) == (403, "permission.denied")
    assert (await staff["manager"].get("/datasets"))["items"] == []


async def test_unknown_dataset_format_and_taken_name_are_told(staff, credit_csv):
    dan = staff["scientist"]
    assert (await upload(dan, credit_csv)).code == "dataset.unknown"
    await dan.post("/datasets", CREDIT)
    assert (await dan.call("POST", "/datasets", CREDIT)).code == "dataset.exists"
    assert (await upload(dan, credit_csv, kind="text/plain")).code == "data.format"
    missing = await dan.call("GET", "/datasets/german_credit/snapshots/7")
    assert (missing.status, missing.code) == (404, "snapshot.unknown")


BAD_DECLARATIONS = (
    ({"name": "No Name"}, "name.invalid"),
    ({"target": None}, "dataset.target"),
    ({"task": "clustering"}, "dataset.target"),
    ({"source": " "}, "dataset.source"),
    ({"licence": ""}, "dataset.licence"),
    ({"protected": ["creditability"]}, "dataset.target"),
)


async def test_declarations_that_contradict_themselves_are_refused(staff):
    for change, code in BAD_DECLARATIONS:
        answer = await staff["scientist"].call("POST", "/datasets", CREDIT | change)
        assert (answer.status, answer.code) == (422, code), change
    assert (await staff["scientist"].get("/datasets"))["items"] == []
