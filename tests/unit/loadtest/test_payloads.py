import msgspec
import pytest

from compiler.schema import Feature
from loadtest.draws import draw_rows, find_literals
from loadtest.errors import LoadTestError
from loadtest.payloads import encode_all, read_payload, read_records, rows

FEATURES = {
    "amount": Feature("int", min=0, max=50_000),
    "rate": Feature("float32", min=0.0, max=1.0),
    "price": Feature("decimal", scale=2, min=1, max=9),
    "kind": Feature("enum", values=("a", "b", "c")),
    "note": Feature("string", nullable=True),
    "paid": Feature("bool"),
    "since": Feature("date"),
    "seen": Feature("timestamp"),
    "context.channel": Feature("enum", values=("web", "desk")),
}
RULES = {"text": "IF amount < 1234 AND rate > 0.5 THEN one ELSE two"}


def test_rows_drawn_decode_under_the_schema_they_were_drawn_from():
    from compiler.schema_decode import features_struct

    plain = {k: v for k, v in FEATURES.items() if not k.startswith("context.")}
    struct = features_struct(plain)
    for row in draw_rows(FEATURES, 300):
        msgspec.json.decode(msgspec.json.encode(row["features"]), type=struct)
        assert row["context"]["channel"] in {"web", "desk"}


def test_same_seed_draws_the_same_rows():
    assert draw_rows(FEATURES, 20, seed=4) == draw_rows(FEATURES, 20, seed=4)
    assert draw_rows(FEATURES, 20, seed=4) != draw_rows(FEATURES, 20, seed=5)


def test_nullable_features_are_sometimes_missing_and_others_never():
    drawn = [row["features"] for row in draw_rows(FEATURES, 400)]
    assert 0 < sum("note" not in row for row in drawn) < 100
    assert all("amount" in row for row in drawn)


def test_draws_visit_the_literals_of_the_rules_and_their_neighbours():
    plain = {k: v for k, v in FEATURES.items() if k in {"amount", "rate"}}
    assert find_literals(plain, RULES)["amount"] == [1234]
    drawn = {row["features"]["amount"] for row in draw_rows(plain, 500, rules=RULES)}
    assert {1233, 1234, 1235} <= drawn


def test_unbounded_numbers_are_drawn_around_the_literals():
    drawn = draw_rows({"amount": Feature("int")}, 300, rules={"text": RULES["text"].split(" AND")[0]
                                                            + " THEN one ELSE two"})  # fmt: skip
    values = [row["features"]["amount"] for row in drawn]
    assert min(values) < 1234 < max(values)


def test_lines_are_requests_or_bare_features(tmp_path):
    file = tmp_path / "rows.ndjson"
    file.write_text('{"features":{"a":1},"subject":"s"}\n\n{"a":2}\n')
    assert read_payload(file, None) == [
        {"features": {"a": 1}, "subject": "s"},
        {"features": {"a": 2}},
    ]


def test_csv_columns_outside_the_schema_are_left_out_and_reserved_ones_placed(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(
        'amount,kind,target,_subject,_context.channel,note\n5,a,1,me,web,\n7,b,0,you,desk,""\n'
    )
    found = read_payload(file, FEATURES)
    assert found[0]["features"]["amount"] == 5
    assert "target" not in found[0]["features"]
    assert found[0]["subject"] == "me"
    assert found[1]["context"] == {"channel": "desk"}
    assert [row["features"]["note"] for row in found] == [None, ""]


def test_parquet_rows_are_read_like_csv_rows(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"amount": [1, 2], "kind": ["a", "b"]}), tmp_path / "r.parquet")
    assert read_payload(tmp_path / "r.parquet", None)[1] == {"features": {"amount": 2, "kind": "b"}}


@pytest.mark.parametrize("text", ["", "[1]\n", "nonsense\n", '"text"\n', "[" * 5000 + "\n"])
def test_what_is_no_payload_is_refused_with_its_place(tmp_path, text):
    file = tmp_path / "rows.ndjson"
    file.write_text(text)
    with pytest.raises(LoadTestError) as caught:
        read_payload(file, None)
    assert str(file) in caught.value.at


def test_audit_records_are_replayed_in_time_order(tmp_path):
    file = tmp_path / "audit.ndjson"
    file.write_text(
        '{"received_at":"2026-06-15T10:00:02Z","features":{"a":2}}\n'
        '{"received_at":"2026-06-15T10:00:01.5Z","features":"{\\"a\\":1}"}\n'
    )
    found = read_records(file)
    assert [row["features"]["a"] for row, _ in found] == [1, 2]
    assert found[1][1] - found[0][1] == 500_000_000


def test_audit_record_without_a_time_is_refused_with_its_line(tmp_path):
    file = tmp_path / "audit.ndjson"
    file.write_text('{"features":{"a":2}}\n')
    with pytest.raises(LoadTestError) as caught:
        read_records(file)
    assert caught.value.at == f"{file}:1"


def test_no_source_at_all_tells_the_ways_to_give_one():
    with pytest.raises(LoadTestError) as caught:
        rows(payload=None, body=None, replay=None, features=None, variants=1)
    assert "--schema" in caught.value.hint


SOME = [{"features": {"amount": k, "kind": "a", "paid": True, "rate": 0.5}} for k in range(3)]


def test_batches_hold_rows_and_the_last_is_filled_from_the_beginning():
    bodies = encode_all(SOME, "json", 2, None)
    sizes = [[r["features"]["amount"] for r in msgspec.json.decode(b.data)["rows"]] for b in bodies]
    assert sizes == [[0, 1], [2, 0]]


def test_v2_json_has_one_tensor_per_feature():
    features = {name: FEATURES[name] for name in SOME[0]["features"]}
    (body,) = encode_all(SOME, "v2", 3, features)
    inputs = {put["name"]: put for put in msgspec.json.decode(body.data)["inputs"]}
    assert inputs["amount"] == {"name": "amount", "shape": [3], "datatype": "INT64",
                                "data": [0, 1, 2]}  # fmt: skip
    assert (inputs["kind"]["datatype"], inputs["rate"]["datatype"]) == ("BYTES", "FP32")


def test_v2_binary_is_what_the_reference_client_sends():
    client = pytest.importorskip("tritonclient.http")
    import numpy as np

    features = {name: FEATURES[name] for name in SOME[0]["features"]}
    (body,) = encode_all(SOME, "v2-binary", 3, features)
    columns = {
        "amount": ("INT64", np.array([0, 1, 2], np.int64)),
        "kind": ("BYTES", np.array([b"a"] * 3, dtype=object)),
        "paid": ("BOOL", np.array([True] * 3)),
        "rate": ("FP32", np.array([0.5] * 3, np.float32)),
    }
    tensors = []
    for name, (kind, values) in columns.items():
        tensor = client.InferInput(name, [3], kind)
        tensor.set_data_from_numpy(values, binary_data=True)
        tensors.append(tensor)
    theirs, size = client.InferenceServerClient.generate_request_body(tensors)
    length = int(dict(body.headers)["Inference-Header-Content-Length"])
    assert body.data[length:] == theirs[size:]
    mine, reference = (msgspec.json.decode(x) for x in (body.data[:length], theirs[:size]))
    assert mine["inputs"] == reference["inputs"]


def test_v2_batch_with_a_value_missing_in_some_rows_is_refused():
    part = [{"features": {"a": 1}}, {"features": {"a": None}}]
    with pytest.raises(LoadTestError, match="missing in some rows"):
        encode_all(part, "v2", 2, None)


def test_stream_body_is_one_line_per_row():
    bodies = encode_all(SOME, "stream", 2, None)
    assert [len(body.data.splitlines()) for body in bodies] == [2, 2]
    assert bodies[0].content_type == "application/x-ndjson"
