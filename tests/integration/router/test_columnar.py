"""A batch of columns gets, row by row, what single requests with the same values get."""

from __future__ import annotations

import hashlib
import random
import uuid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from compiler.errors import AppError
from router.arms import choose_arm
from router.columnar.decide import ColumnarEndpoint
from router.columnar.tables import id_words
from router.evidence import forces_parts, keeps_parts
from router.release.build import assemble
from router.release.spec import Policies
from router.wire.native import Row
from serving.audit.parts import check_table
from serving.engine import Engine
from tests import router_world as world

NOW_US = 1_718_454_000_000_000
SPLIT = "IF credit_amount > 4000 THEN SPLIT (70: model_v1, 30: model_v2) SALT 's'\nELSE model_v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columnar")


def endpoint_of(folder: Path, policies: Policies | None = None, **fields: Any) -> Any:
    content = world.credit(folder, policies=policies or Policies(), **fields)
    models = {
        ref.name: Engine.load(folder / "packages" / ref.package.removeprefix("sha256:"))
        for ref in content.models
    }
    return assemble(content, "sha256:x", models)


def rows_of(count: int, seed: int, *, bad: float = 0.0) -> list[dict[str, Any]]:
    """Applications, some of them with a value that does not fit."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        row = world.row(draw.randrange(200), credit_amount=draw.randrange(250, 20_000))
        if draw.random() < bad:
            name = draw.choice(sorted(row))
            row[name] = draw.choice([None, -5, "nonsense", 10**9, 0.5])
        found.append(row)
    return found


def batch_of(rows: list[dict[str, Any]], features: Any, **more: Any) -> pa.RecordBatch:
    """Columns of rows; values of several types in one column become the column's type or null."""
    columns: dict[str, Any] = {}
    for name, feature in features.items():
        kind = pa.string() if feature.type in ("enum", "string") else pa.float64()
        if feature.type == "int" and all(isinstance(row.get(name), int) for row in rows):
            kind = pa.int64()
        values = [row.get(name) for row in rows]
        columns[name] = pa.array([fitting(value, kind) for value in values], kind)
    return pa.record_batch({**columns, **more})


def fitting(value: Any, kind: Any) -> Any:
    if kind == pa.string():
        return value if isinstance(value, str) else None
    return None if isinstance(value, str) else value


def single(endpoint: Any, values: dict[str, Any], subject: str | None = None) -> dict[str, Any]:
    """The slow obvious way: one request through decoder, rules, scorer and decision table."""
    row = Row(msgspec.Raw(msgspec.json.encode(values)), subject=subject)
    try:
        f, c, _ = endpoint.decode_slow(row)
    except AppError as error:
        problems = getattr(error, "problems", ()) or (error,)
        return {"errors": {each.code for each in problems}}
    index = endpoint.route(f, c, NOW_US)
    if index < 0:
        return {"errors": {"rule.unknown"}}
    arm = endpoint.arms[index]
    if hasattr(arm, "arms"):
        arm = choose_arm(arm, f, row)
    found = {"rule": arm.rule, "model": arm.model, "version": arm.version}
    if arm.score is None:
        return {**found, "decision": "reject", "label": None, "outputs": None}
    out = arm.score(f)
    outcome = endpoint.decided[endpoint.decide(f, c, NOW_US, out) if endpoint.decide else -1]
    outputs = endpoint.encode_outputs(out).decode()
    return {**found, "decision": outcome.decision, "label": out[0], "outputs": outputs}


def compare(endpoint: Any, batch: pa.RecordBatch, subjects: Any = None) -> Any:
    found = ColumnarEndpoint(endpoint, subject_ref=str).decide(batch, first_row=7, now_us=NOW_US)
    names = [name for name in endpoint.plain.names if name in batch.schema.names]
    errors = 0
    for place, (values, answer) in enumerate(
        zip(batch.select(names).to_pylist(), found.result.to_pylist(), strict=True)
    ):
        given = {name: value for name, value in values.items() if value is not None}
        expected = single(endpoint, given, subjects[place] if subjects else None)
        assert answer["row"] == 7 + place
        assert uuid.UUID(answer["id"]).version == 7
        if "errors" in expected:
            errors += 1
            assert answer["error"].partition(":")[0] in expected["errors"], (answer, expected)
            assert answer["rule"] is answer["outputs"] is answer["decision"] is None
        else:
            assert {name: answer[name] for name in expected} == expected
            assert answer["error"] is None
    assert found.errors == errors
    assert sum(found.routes.values()) == batch.num_rows - errors
    check_table(pa.Table.from_batches([found.evidence]))
    return found


@pytest.mark.parametrize("count", [1, 2, 17, 1500])
def test_columns_get_what_single_requests_get(folder: Path, count: int) -> None:
    endpoint = endpoint_of(folder)
    batch = batch_of(rows_of(count, count), endpoint.content.features)
    found = compare(endpoint, batch)
    assert found.errors == 0
    assert len(set(found.result.column("id").to_pylist())) == count


def test_rows_that_do_not_fit_are_errors_and_the_others_are_answered(folder: Path) -> None:
    endpoint = endpoint_of(folder)
    batch = batch_of(rows_of(800, 3, bad=0.4), endpoint.content.features)
    found = compare(endpoint, batch)
    assert 100 < found.errors < 700
    statuses = found.evidence.column("status").to_pylist()
    assert statuses.count(422) == found.errors


def test_dictionaries_nulls_and_other_widths_mean_the_same(folder: Path) -> None:
    endpoint = endpoint_of(folder)
    batch = batch_of(rows_of(200, 5), endpoint.content.features)
    plain = compare(endpoint, batch)
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_string(column.type):
            column = column.dictionary_encode()
        elif pa.types.is_integer(column.type):
            column = column.cast(pa.int32())
        columns[name] = column
    other = compare(endpoint, pa.record_batch(columns))
    for name in ("rule", "model", "decision", "label", "outputs"):
        assert other.result.column(name).equals(plain.result.column(name))


def test_a_column_of_another_type_makes_every_row_an_error(folder: Path) -> None:
    endpoint = endpoint_of(folder)
    batch = batch_of(rows_of(5, 1), endpoint.content.features)
    place = batch.schema.get_field_index("credit_amount")
    words = pa.array(["x"] * 5)
    batch = batch.set_column(place, pa.field("credit_amount", pa.string()), words)
    found = ColumnarEndpoint(endpoint, subject_ref=str).decide(batch, first_row=0, now_us=NOW_US)
    assert found.errors == 5
    assert found.result.column("error")[0].as_py().startswith("features.type: ")


def test_split_arms_are_those_of_single_requests(folder: Path) -> None:
    names = [ref.name for ref in world.models(folder)]
    rules = SPLIT.replace("model_v1", names[0]).replace("model_v2", names[-1])
    endpoint = endpoint_of(folder, rules={"text": rules})
    subjects = [f"s{n}" for n in range(300)]
    batch = batch_of(rows_of(300, 9), endpoint.content.features, _subject=pa.array(subjects))
    found = compare(endpoint, batch, subjects)
    assert len(found.routes) > 1
    assert found.evidence.column("subject_ref").to_pylist() == subjects


def test_ids_are_taken_over_and_written_as_uuids(folder: Path) -> None:
    endpoint = endpoint_of(folder)
    batch = batch_of(rows_of(4, 2), endpoint.content.features, _id=pa.array(["a", "b", None, "d"]))
    digests = [hashlib.sha256(bytes([n])).digest()[:16] for n in range(4)]
    ids = np.frombuffer(b"".join(digests), np.uint8).reshape(4, 16)
    found = ColumnarEndpoint(endpoint, subject_ref=str).decide(
        batch, first_row=0, now_us=NOW_US, ids=ids
    )
    expected = [str(uuid.UUID(bytes=each)) for each in digests]
    assert found.result.column("id").to_pylist() == id_words(ids).to_pylist() == expected
    assert found.evidence.column("id").to_pylist() == digests
    assert found.evidence.column("request_id").to_pylist() == ["a", "b", None, "d"]


def test_parts_are_kept_where_the_endpoint_promises_no_more_than_they_hold(folder: Path) -> None:
    def kept(**policies: Any) -> tuple[bool, bool]:
        endpoint = endpoint_of(folder, Policies(**policies))
        return keeps_parts(endpoint), forces_parts(endpoint.policies)

    assert kept() == (False, False)
    assert kept(stream_evidence="parts") == (True, False)
    assert kept(stream_evidence="parts", durability="flush") == (True, True)
    assert kept(stream_evidence="parts", durability="strict") == (True, True)
    assert not kept(stream_evidence="parts", durability="shipped")[0]
