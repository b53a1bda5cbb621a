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


SOUND = world.body(3)
PURPOSE = str(world.row(3)["purpose"]).encode()
UNFIT: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "body.json"),
    "cut off": (SOUND[:-2], 400, "body.json"),
    "something behind": (SOUND + b"x", 400, "body.json"),
    "single quotes": (SOUND.replace(b'"', b"'"), 400, "body.json"),
    "bad UTF-8": (SOUND.replace(PURPOSE, b"\xff\xfe", 1), 400, "body.json"),
    "half a surrogate pair": (SOUND.replace(PURPOSE, b"\\ud800", 1), 400, "body.json"),
    "deep lists": (b'{"features":' + b"[" * 100_000, 400, "body.json"),
    "deep objects": (
        b'{"features":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
        400,
        "body.json",
    ),
    "a list": (b"[" + SOUND + b"]", 400, "body.shape"),
    "a text": (b'"features"', 400, "body.shape"),
    "features as a list": (b'{"features": []}', 400, "body.shape"),
    "features as a text": (b'{"features": "x"}', 400, "body.shape"),
    "rows as an object": (b'{"rows": {}}', 400, "body.shape"),
    "rows of numbers": (b'{"rows": [1]}', 400, "body.shape"),
    "rows and features": (b'{"features": {}, "rows": []}', 400, "body.shape"),
    "an unknown member": (b'{"features": {}, "feature": {}}', 400, "body.shape"),
    "id of another type": (SOUND[:-1] + b', "id": 7}', 400, "body.shape"),
    "an integer beyond 64 bits": (with_amount(b"9" * 30), 422, "features.type"),
    "an integer of 20,000 digits": (with_amount(b"9" * 20_000), 400, "body.json"),
    "a fraction": (with_amount(b"2000.5"), 422, "features.type"),
    "a truth value": (with_amount(b"true"), 422, "features.type"),
    "a number as a text": (with_amount(b'"2000"'), 422, "features.type"),
    "a list for a number": (with_amount(b"[2000]"), 422, "features.type"),
    "a number for a word": (world.body(3, change={"purpose": 3}), 422, "features.type"),
    "an unknown feature": (world.body(3, change={"color": "red"}), 422, "features.unknown"),
    "no features": (b'{"features": {}}', 422, "features.missing"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_request_has_its_status_and_code_and_harms_nobody(port: int, name: str) -> None:
    body, status, code = UNFIT[name]
    with Wire(port) as wire, Wire(port) as other:
        answer = wire.send(request(body, key=KEY)).answer()
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers[b"content-type"] == b"application/problem+json"
        sound = request(SOUND, key=KEY)
        assert wire.send(sound).answer().status == other.send(sound).answer().status == 200


def test_every_unfit_feature_is_listed(port: int) -> None:
    change = {"purpose": "a yacht", "credit_amount": "much", "color": "red", "housing": None}
    answer = post(port, world.body(3, change=change))
    errors: Any = answer.json["errors"]
    assert {each["at"] for each in errors} == {f"features.{name}" for name in change}
    assert answer.status == 422


def test_last_of_equal_names_counts(port: int) -> None:
    amount = b'"credit_amount":%d' % world.row(3)["credit_amount"]
    for other in (b"1", b"null", b'"nonsense"'):
        twice = SOUND.replace(amount, b'"credit_amount":' + other + b"," + amount)
        answer = post(port, twice)
        assert answer.status == 200, answer.body
        assert answer.json["outputs"] == post(port, SOUND).json["outputs"]


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
