"""Rows that are not rows: not a number, infinite, unseen, none at all; each has a stated answer."""

import json
from typing import Any

import pytest

from tests import router_world as world
from tests.router_process import Answer, Wire, request

KEY = world.ROUTING_KEY


def post(port: int, body: bytes, path: str = "/v1/predict") -> Answer:
    with Wire(port) as wire:
        return wire.send(request(body, key=KEY, path=path)).answer()


def with_amount(text: bytes) -> bytes:
    amount = str(world.row(3)["credit_amount"]).encode()
    return world.body(3).replace(b'"credit_amount":' + amount, b'"credit_amount":' + text)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (b"NaN", 400, "body.json"),
        (b"Infinity", 400, "body.json"),
        (b"-Infinity", 400, "body.json"),
        (b"1e400", 422, "features.type"),
        (b'"NaN"', 422, "features.type"),
        (b"null", 422, "features.missing"),
        (b"1e300", 422, "features.type"),
    ],
)
def test_number_that_is_none_is_refused_by_name(
    port: int, text: bytes, status: int, code: str
) -> None:
    answer = post(port, with_amount(text))
    assert (answer.status, answer.code) == (status, code)
    assert post(port, world.body(3)).status == 200


def test_category_never_seen_is_named(port: int) -> None:
    answer = post(port, world.body(3, change={"purpose": "a yacht"}))
    assert (answer.status, answer.code) == (422, "features.enum")
    errors: Any = answer.json["errors"]
    assert errors[0]["at"] == "features.purpose"


def test_batch_of_no_rows_is_answered_with_no_results(port: int) -> None:
    answer = post(port, b'{"rows": []}')
    assert (answer.status, answer.json["results"]) == (200, [])


def test_open_protocol_batch_of_no_rows_has_empty_outputs(port: int) -> None:
    inputs = [
        {"name": name, "shape": [0], "data": []}
        | {"datatype": "BYTES" if isinstance(value, str) else "INT64"}
        for name, value in world.row(3).items()
    ]
    answer = post(port, json.dumps({"inputs": inputs}).encode(), "/v2/models/credit/infer")
    assert answer.status == 200
    outputs: Any = answer.json["outputs"]
    assert [each["shape"][0] for each in outputs] == [0] * len(outputs)


def test_stream_of_no_rows_is_an_empty_stream(port: int) -> None:
    answer = post(port, b"", "/v1/stream/credit")
    assert (answer.status, answer.body) == (200, b"")
