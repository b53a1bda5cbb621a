"""Record batches in and out: in order, split by route, bad rows by themselves, memory constant."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.bulk import CHUNK_ROWS, BulkPlan, BulkRoute, predict_batches
from serving.engine import Engine
from serving.registry import resident_bytes
from serving.tabular import TableFileError, read_batches
from tests.builders import GERMAN_CREDIT, german_credit, signed_package

FEATURES, COLUMNS, _ = german_credit()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [
        Engine.load(signed_package(root, estimator=word, name=word).folder)
        for word in ("logistic_regression", "gradient_boosting")
    ]


def table(rows=1000, **changes):
    return pa.table({**{k: (v * (rows // 1000 + 1))[:rows] for k, v in COLUMNS.items()}, **changes})


def read(model):
    return {name: FEATURES[name] for name in model.encoding.features()}


def run(batches, plan):
    parts = list(predict_batches(batches, plan))
    return pa.Table.from_batches(parts).to_pylist() if parts else []


def test_mixed_routes_come_back_in_order_with_their_models_scores(models):
    def choose(columns, rows):
        index = (columns["credit_amount"] > 2000).astype(np.int16)
        index[columns["duration_in_month"] > 36] = 2
        return index

    routes = (
        BulkRoute("small", models[0]),
        BulkRoute("large", models[1]),
        BulkRoute("too_long", None),
    )
    plan = BulkPlan(read(models[0]), routes, choose)
    rows = run(table().to_batches(max_chunksize=333), plan)
    assert [row["row"] for row in rows] == list(range(1000))
    whole = [model.score_columns(COLUMNS, 1000) for model in models]
    for place, row in enumerate(rows):
        months, amount = COLUMNS["duration_in_month"][place], COLUMNS["credit_amount"][place]
        if months > 36:
            assert (row["rule"], row["model"], row["outputs"]) == ("too_long", None, None)
            continue
        route = int(amount > 2000)
        label, shares = whole[route].row(place)
        assert row["model"] == models[route].name
        assert row["label"] == label
        outputs = json.loads(row["outputs"])
        assert tuple(outputs["probability"][name] for name in ("bad", "good")) == shares


def test_bad_rows_carry_their_error_and_the_others_go_on(models):
    amounts = [float(item) for item in COLUMNS["credit_amount"]]
    amounts[3] = float("inf")
    amounts[5] = None
    purposes = list(COLUMNS["purpose"])
    purposes[7] = "a yacht"
    months = [float(item) for item in COLUMNS["duration_in_month"]]
    months[9] = 1.5
    changed = table(credit_amount=amounts, purpose=purposes, duration_in_month=months)
    rows = run(changed.to_batches(), BulkPlan(read(models[0]), (BulkRoute("all", models[0]),)))
    errors = {row["row"]: row["error"] for row in rows if row["error"]}
    assert {place: text.partition(":")[0] for place, text in errors.items()} == {
        3: "features.range",
        5: "features.missing",
        7: "features.enum",
        9: "features.type",
    }
    assert sum(row["outputs"] is not None for row in rows) == 996


def test_number_beyond_float32_is_found_among_good_rows(models):
    amounts = [float(item) for item in COLUMNS["credit_amount"]]
    amounts[500] = 1e300
    plan = BulkPlan(
        {**read(models[0]), "credit_amount": FEATURES["credit_amount"]},
        (BulkRoute("all", models[0]),),
        strict=False,
    )
    rows = run(table(credit_amount=amounts).to_batches(), plan)
    assert [row["row"] for row in rows if row["error"]] == [500]
    assert rows[500]["error"].startswith("features.range")


def test_zero_rows_give_zero_rows(models):
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    assert run([], plan) == []
    assert run(table(0).to_batches(), plan) == []
    assert models[0].score_columns({name: [] for name in COLUMNS}, 0).probabilities.shape == (0, 2)


def test_batch_for_another_schema_names_what_is_missing(models):
    batch = pa.record_batch({"height": [1.0, 2.0]})
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    errors = {row["error"] for row in run([batch], plan)}
    assert len(errors) == 1
    assert errors.pop().startswith("features.missing: expected ")


def test_ids_are_passed_on(models):
    names = [f"r{place}" for place in range(1000)]
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    rows = run(table(_id=names).to_batches(), plan)
    assert [row["id"] for row in rows] == names


def test_dictionary_columns_score_like_plain_ones(models):
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    coded = table(purpose=pa.array(COLUMNS["purpose"]).dictionary_encode())
    assert run(coded.to_batches(), plan) == run(table().to_batches(), plan)


def test_memory_does_not_grow_with_the_number_of_rows(models):
    plan = BulkPlan(read(models[1]), (BulkRoute("all", models[1]),))
    batch = table(CHUNK_ROWS).combine_chunks().to_batches()[0]

    def peak(count):
        tracemalloc.start()
        rows = sum(part.num_rows for part in predict_batches((batch for _ in range(count)), plan))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == count * CHUNK_ROWS
        return used

    assert peak(4) < 1.3 * peak(1)


@pytest.mark.slow
def test_ten_million_rows_are_scored_in_the_memory_of_one_chunk(models):
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    plain = table(CHUNK_ROWS).combine_chunks().to_batches()[0]
    words = {name for name in read(models[0]) if FEATURES[name].type == "enum"}
    batch = pa.record_batch(
        {
            name: plain.column(name).dictionary_encode() if name in words else plain.column(name)
            for name in read(models[0])
        }
    )
    turns = 10_000_000 // CHUNK_ROWS + 1
    rows, highest, start = 0, 0, 0
    for number, part in enumerate(predict_batches((batch for _ in range(turns)), plan)):
        rows += part.num_rows
        if number == 20:
            start = resident_bytes()
        elif number > 20:
            highest = max(highest, resident_bytes())
    assert rows == turns * CHUNK_ROWS
    assert highest - start < 64 << 20


def test_one_huge_batch_is_scored_in_chunks(models):
    plan = BulkPlan(read(models[0]), (BulkRoute("all", models[0]),))
    batch = table(CHUNK_ROWS + 10).combine_chunks().to_batches()[0]
    assert [part.num_rows for part in predict_batches([batch], plan)] == [CHUNK_ROWS, 10]


def test_csv_ndjson_and_parquet_hold_the_same_rows(tmp_path, models):
    features = read(models[0])
    ndjson = tmp_path / "rows.ndjson"
    with ndjson.open("w") as file:
        for place in range(1000):
            row = {name: COLUMNS[name][place] for name in COLUMNS}
            file.write(json.dumps({"features": row, "id": place} if place % 2 else row) + "\n")
    parquet = tmp_path / "rows.parquet"
    pq.write_table(table(), parquet)
    plan = BulkPlan(features, (BulkRoute("all", models[0]),))
    outputs = [
        [row["outputs"] for row in run(read_batches(path, features), plan)]
        for path in (GERMAN_CREDIT, ndjson, parquet)
    ]
    assert outputs[0] == outputs[1] == outputs[2]


def test_empty_cell_is_missing_and_quoted_empty_text_is_not(tmp_path):
    from compiler.schema import Feature

    path = tmp_path / "rows.csv"
    path.write_text('a,b\n,1\n"",2\n')
    features = {"a": Feature("string", nullable=True), "b": Feature("int")}
    assert next(read_batches(path, features)).column("a").to_pylist() == [None, ""]


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.ndjson", "{\n"), ("x.ndjson", "[1]\n"), ("x.csv", "a\n1\n2,3\n"), ("x.parquet", "PAR1")],
)
def test_unreadable_file_is_an_error_that_names_it(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TableFileError) as caught:
        list(read_batches(path, {}))
    assert name in caught.value.at
