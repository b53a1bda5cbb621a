"""The native API beyond one prediction: rows, outcomes, overrides, repeats, streams."""

import json
from math import log
from typing import Any
from uuid import UUID

import pytest

from tests import router_world as world
from tests.router_process import Answer, Wire, request

KEY = world.ROUTING_KEY


def post(port: int, path: str, body: Any, *headers: bytes) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with Wire(port) as wire:
        return wire.send(request(raw, key=KEY, path=path, headers=headers)).answer()


def test_rows_are_answered_in_order_each_with_an_id(port: int) -> None:
    rows = [{"features": world.row(n), "id": str(n), "subject": f"s{n}"} for n in range(30)]
    found = post(port, "/v1/predict", {"rows": rows}).json
    results: Any = found["results"]
    assert [each["request_id"] for each in results] == [str(n) for n in range(30)]
    assert len({each["id"] for each in results}) == 30
    assert {each["model"] for each in results} == {"quick_approval", "standard_underwriting"}
    single = post(port, "/v1/predict", rows[7]).json
    assert results[7]["outputs"] == single["outputs"]


def test_bad_rows_are_all_named_and_refuse_the_call(port: int) -> None:
    rows = [{"features": world.row(n)} for n in range(5)]
    rows[1]["features"]["credit_amount"] = "many"
    del rows[3]["features"]["purpose"]
    answer = post(port, "/v1/predict", {"rows": rows})
    errors: Any = answer.json["errors"]
    assert answer.status == 422
    assert [each["at"] for each in errors] == ["rows[1].credit_amount", "rows[3].purpose"]


def test_reject_is_an_answer_without_a_model(port: int) -> None:
    row = world.row(3, purpose="retraining", credit_amount=5000)
    found = post(port, "/v1/predict", {"features": row}).json
    assert (found["model"], found["version"], found["outputs"]) == (None, None, None)
    assert (found["decision"], found["reason"]) == ("reject", "not for this purpose")


def test_whole_number_with_a_point_is_an_integer(port: int) -> None:
    body = world.body(3).replace(b'"duration_in_month":', b'"duration_in_month": 1.2e1, "x":', 1)
    assert post(port, "/v1/predict", body).code == "features.unknown"
    amount = str(world.row(3)["credit_amount"]).encode()
    body = world.body(3).replace(b":" + amount + b",", b":" + amount + b".0,", 1)
    assert post(port, "/v1/predict", body).status == 200


def test_wanted_explanation_is_in_the_answer_where_it_is_cheap(port: int) -> None:
    row = {name: value for name, value in world.row(3).items() if name != "purpose"}
    for features in (world.row(3), {**row, "purpose": "car (used)", "credit_amount": 900}):
        found = post(port, "/v1/predict", {"features": features, "explain": True}).json
        explanation = found["explanation"]
        assert explanation["state"] == "ok"
        assert explanation["method"] in {"linear", "tree"}
        good = found["outputs"]["probability"]["good"]
        total = explanation["base"] + sum(explanation["phi"].values())
        assert total == pytest.approx(log(good / (1 - good)), abs=1e-3)
        assert explanation["residual"] <= 1e-3
        assert explanation["reasons"]


def test_rejection_is_explained_by_its_rule(port: int) -> None:
    features = world.row(3, purpose="retraining", credit_amount=5000)
    found = post(port, "/v1/predict", {"features": features, "explain": True}).json
    assert found["explanation"] == {
        "state": "ok", "method": "rule", "reasons": ["not for this purpose"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/outcomes", {"subject": "47392", "label": "good"}, 200),
        ("/v1/outcomes/credit", [{"subject": "a", "label": 1}, {"subject": "b", "label": 0}], 200),
        ("/v1/outcomes", {"label": "good"}, 400),
        ("/v1/outcomes", {"subject": "a"}, 400),
        ("/v1/outcomes", {"id": "no uuid", "label": "good"}, 400),
        ("/v1/outcomes", {"subject": "a", "label": 1, "at": "yesterday"}, 400),
        ("/v1/overrides", {"subject": "a", "decision": "approve", "reason": "knows him"}, 200),
        ("/v1/overrides", {"subject": "a", "decision": "approve"}, 400),
        ("/v1/overrides/other", {"subject": "a", "decision": "x", "reason": "y"}, 403),
        ("/v1/outcomes", b"{", 400),
    ],
)
def test_events_are_taken_or_refused(port: int, path: str, body: Any, status: int) -> None:
    answer = post(port, path, body)
    assert answer.status == status
    if status == 200:
        ids: Any = answer.json["events"]
        assert len({UUID(each) for each in ids}) == answer.json["accepted"]


def test_repeat_gets_the_first_answer_and_another_body_409(port: int) -> None:
    header = b"Idempotency-Key: loan-17-%d" % port
    first = post(port, "/v1/predict", world.body(3), header)
    again = post(port, "/v1/predict", world.body(3), header)
    assert first.status == again.status == 200
    assert first.body == again.body
    assert again.headers[b"idempotency-replayed"] == b"true"
    other = post(port, "/v1/predict", world.body(4), header)
    assert (other.status, other.code) == (409, "idempotency.conflict")
    assert post(port, "/v1/predict", world.body(3)).body != first.body


def stream(port: int, body: bytes, kind: bytes = b"application/x-ndjson") -> list[bytes]:
    with Wire(port, 20.0) as wire:
        raw = request(
            key=KEY,
            path="/v1/stream/credit",
            headers=(b"Transfer-Encoding: chunked", b"Content-Type: " + kind),
            length=False,
        )
        wire.send(raw)
        for at in range(0, len(body), 5000):
            part = body[at : at + 5000]
            wire.send(b"%x\r\n%b\r\n" % (len(part), part))
        answer = wire.send(b"0\r\n\r\n").answer()
    assert answer.status == 200
    assert answer.headers[b"content-type"] == kind
    return answer.body.splitlines()


def test_lines_are_answered_in_order_and_bad_ones_do_not_stop_the_rest(port: int) -> None:
    lines = [world.body(n % 900, id=str(n)) for n in range(300)]
    lines[5] = b"nonsense"
    lines[9] = b'{"features": {}}'
    found = [json.loads(each) for each in stream(port, b"\n".join(lines))]
    assert [each["row"] for each in found] == list(range(300))
    assert found[5]["error"]["code"] == "body.json"
    assert found[9]["error"]["code"] == "features.missing"
    assert sum("error" in each for each in found) == 2
    assert found[3]["label"] in ("good", "bad")
    assert len({each["id"] for each in found if "id" in each}) == 298


def test_csv_in_is_csv_out(port: int) -> None:
    names = list(world.features())
    quote = '"{}"'.format
    rows = [
        ",".join(quote(v) if isinstance(v, str) else str(v) for v in world.row(n).values())
        for n in range(3)
    ]
    body = "\r\n".join([",".join([*names, "_id"]), *(f"{row},r{n}" for n, row in enumerate(rows))])
    found = stream(port, (body + ",\n1,2\n").encode(), b"text/csv")
    assert found[0] == b"row,id,rule,model,version,decision,label,value,outputs,error"
    assert len(found) == 5
    assert found[1].startswith(b"0,")
    assert b"standard_underwriting,1," in found[1] or b"quick_approval,1," in found[1]
    assert b"body.csv" in found[4]


def test_stream_of_nobody_is_refused_before_its_first_line(port: int) -> None:
    with Wire(port) as wire:
        raw = request(b"x\n", key=KEY, path="/v1/stream/other")
        answer = wire.send(raw).answer()
        assert (answer.status, answer.code) == (403, "key.endpoint")


def test_description_has_the_features_of_the_release(port: int) -> None:
    with Wire(port) as wire:
        answer = wire.send(request(method="GET", path="/openapi.json")).answer()
        page = wire.send(request(method="GET", path="/docs")).answer()
    described: Any = answer.json
    schema = described["components"]["schemas"]["credit.request"]["oneOf"][0]
    features = schema["properties"]["features"]
    assert list(features["properties"]) == list(world.features()) == features["required"]
    assert "/v1/predict/credit" in described["paths"]
    assert page.headers[b"content-type"].startswith(b"text/html")
    assert b"<script" not in page.body
    assert b"credit.request" in page.body


def test_time_is_told_when_asked_for(port: int) -> None:
    answer = post(port, "/v1/predict", world.body(3), b"X-Server-Timing: 1")
    assert answer.headers[b"server-timing"].startswith(b"total;dur=")
    assert b"server-timing" not in post(port, "/v1/predict", world.body(3)).headers
