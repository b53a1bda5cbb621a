"""The Open Inference Protocol: unmodified clients, tensors in every form, errors of one shape."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire, request

KEY = world.ROUTING_KEY
BATTERY = Path(__file__).parents[2] / "triton_battery.py"
INFER = "/v2/models/credit/infer"


def tensors(count: int = 1, **change: Any) -> list[dict[str, Any]]:
    rows = [world.row(number, **change) for number in range(3, 3 + count)]
    return [
        {
            "name": name,
            "shape": [count],
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "INT64",
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]


def infer(
    port: int,
    call: Any,
    tail: bytes = b"",
    *,
    path: str = INFER,
    headers: tuple[bytes, ...] = (),
    key: str | None = KEY,
) -> Answer:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    if tail:
        headers += (b"Inference-Header-Content-Length: %d" % len(body),)
    with Wire(port) as wire:
        raw = request(body + tail, key=key, path=path, headers=headers)
        return wire.send(raw).answer()


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {each["name"]: each for each in answer.json["outputs"]}  # type: ignore[index,union-attr]


def native(port: int, number: int) -> dict[str, Any]:
    with Wire(port) as wire:
        return wire.send(request(world.body(number), key=KEY)).answer().json


@pytest.fixture(scope="module")
def battery(lanes: dict[str, RouterProcess]) -> dict[str, dict[str, Any]]:
    found = {}
    for lane, router in lanes.items():
        words = [str(router.port), KEY, "credit", "7", world.body(3).decode()]
        run = subprocess.run(
            [sys.executable, str(BATTERY), *words], capture_output=True, timeout=60, check=False
        )
        assert run.returncode == 0, run.stderr.decode()
        found[lane] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("lane", ["fast", "slow"])
class TestTritonclient:
    """All calls of the sync client, and the ones that its aio twin makes differently."""

    def test_health_is_true(self, battery: dict[str, Any], lane: str) -> None:
        sync = battery[lane]["sync"]
        assert (sync["live"], sync["ready"], sync["model_ready"]) == (True, True, True)
        assert battery[lane]["aio"]["live"] is True

    def test_metadata_lists_features_and_outputs(self, battery: dict[str, Any], lane: str) -> None:
        metadata = battery[lane]["sync"]["model_metadata"]
        assert [each["name"] for each in metadata["inputs"]] == list(world.features())
        assert [each["name"] for each in metadata["outputs"]] == [
            "label",
            "probabilities",
            "decision",
        ]
        assert metadata["versions"] == ["7"]
        assert battery[lane]["aio"]["metadata"] == metadata
        assert "binary_tensor_data" in battery[lane]["sync"]["server_metadata"]["extensions"]

    def test_config_has_what_perf_analyzer_needs(self, battery: dict[str, Any], lane: str) -> None:
        config = battery[lane]["sync"]["config"]
        assert config["max_batch_size"] == 10_000
        assert {each["data_type"] for each in config["input"]} == {"TYPE_INT64", "TYPE_STRING"}
        assert config["output"][1] == {
            "name": "probabilities",
            "data_type": "TYPE_FP32",
            "dims": [2],
        }

    def test_index_and_statistics_name_the_endpoint(
        self, battery: dict[str, Any], lane: str
    ) -> None:
        sync = battery[lane]["sync"]
        assert sync["index"] == [{"name": "credit", "version": "7", "state": "READY", "reason": ""}]
        assert sync["statistics"]["model_stats"][0]["name"] == "credit"

    @pytest.mark.parametrize(
        "call",
        [
            "infer_binary",
            "infer_json_in",
            "infer_json",
            "infer_version",
            "infer_gzip",
            "infer_deflate",
        ],
    )
    def test_every_form_of_infer_gives_one_answer(
        self, battery: dict[str, Any], lane: str, call: str
    ) -> None:
        answer = battery[lane]["sync"][call]
        assert answer == {
            "label": ["good"],
            "shape": [1, 2],
            "sum": [1.0],
            "model": "credit",
            "version": "7",
            "id": "r-1" if call == "infer_json_in" else None,
            "rule": "default",
        }

    def test_batch_has_one_answer_per_row(self, battery: dict[str, Any], lane: str) -> None:
        answer = battery[lane]["sync"]["infer_batch"]
        assert (answer["label"], answer["shape"]) == (["good"] * 3, [3, 2])

    @pytest.mark.parametrize("call", ["infer_binary", "infer_json"])
    def test_aio_client_is_answered(self, battery: dict[str, Any], lane: str, call: str) -> None:
        assert battery[lane]["aio"][call]["label"] == ["good"]

    def test_unknown_model_is_said_in_words(self, battery: dict[str, Any], lane: str) -> None:
        error = battery[lane]["sync"]["unknown_model"]
        assert error["status"] == "403"
        assert "nobody" in error["error"]

    @pytest.mark.parametrize("call", ["load", "unload"])
    def test_loading_is_governed(self, battery: dict[str, Any], lane: str, call: str) -> None:
        error = battery[lane]["sync"][call]
        assert error["status"] == "403"
        assert "approved release" in error["error"]


def test_json_answer_equals_the_native_one(port: int) -> None:
    found = outputs(infer(port, {"inputs": tensors(4)}))
    for place, number in enumerate(range(3, 7)):
        told = native(port, number)
        assert found["label"]["data"][place] == told["outputs"]["label"]
        assert found["probabilities"]["data"][2 * place : 2 * place + 2] == list(
            told["outputs"]["probability"].values()
        )
        assert found["decision"]["data"][place] == told["decision"]
    assert found["probabilities"]["shape"] == [4, 2]


def test_binary_tensors_come_and_go(port: int) -> None:
    tail = b""
    call = tensors(2)
    for tensor in call:
        if tensor["datatype"] == "BYTES":
            raw = b"".join(struct.pack("<I", len(t)) + t.encode() for t in tensor["data"])
        else:
            raw = struct.pack("<2q", *tensor["data"])
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(raw)}
        tail += raw
    answer = infer(port, {"inputs": call, "parameters": {"binary_data_output": True}}, tail)
    assert answer.headers[b"content-type"] == b"application/octet-stream"
    size = int(answer.headers[b"inference-header-content-length"])
    described = {each["name"]: each for each in json.loads(answer.body[:size])["outputs"]}
    length = described["label"]["parameters"]["binary_data_size"]
    raw = answer.body[size + length :]
    told = [native(port, number)["outputs"]["probability"] for number in (3, 4)]
    assert list(struct.unpack_from("<4f", raw)) == [p for each in told for p in each.values()]


def test_id_is_echoed_exactly_when_sent(port: int) -> None:
    assert "id" not in infer(port, {"inputs": tensors()}).json
    assert infer(port, {"id": "", "inputs": tensors()}).json["id"] == ""
    assert infer(port, {"id": "x", "inputs": tensors()}).json["id"] == "x"


def test_requested_outputs_come_in_their_order(port: int) -> None:
    wanted = [{"name": name} for name in ("rule", "decision", "id")]
    answer = infer(port, {"inputs": tensors(2), "outputs": wanted})
    assert [each["name"] for each in answer.json["outputs"]] == ["rule", "decision", "id"]  # type: ignore[index,union-attr]


def test_float_without_fraction_is_an_integer(port: int) -> None:
    call = tensors()
    for tensor in call:
        if tensor["datatype"] == "INT64":
            tensor["datatype"] = "FP64"
            tensor["data"] = [[float(tensor["data"][0])]]
            tensor["shape"] = [1, 1]
    assert infer(port, {"inputs": call}).status == 200


def test_version_in_the_path_is_the_release(port: int) -> None:
    assert (
        infer(port, {"inputs": tensors()}, path="/v2/models/credit/versions/7/infer").status == 200
    )
    wrong = infer(port, {"inputs": tensors()}, path="/v2/models/credit/versions/6/infer")
    assert (wrong.status, list(wrong.json)) == (404, ["error"])


def test_subject_of_each_row_is_an_input_of_its_own(port: int) -> None:
    subjects = {"name": "_subject", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    assert infer(port, {"inputs": [*tensors(2), subjects]}).status == 200
    assert infer(port, {"inputs": tensors(), "parameters": {"subject": "a"}}).status == 200


def changed(**fields: Any) -> dict[str, Any]:
    call = tensors()
    next(each for each in call if each["datatype"] == "INT64").update(fields)
    return {"inputs": call}


BAD: dict[str, tuple[Any, int]] = {
    "not json": (b"{", 400),
    "not an object": (b"[]", 400),
    "no inputs": ({}, 400),
    "empty inputs": ({"inputs": []}, 400),
    "id of another type": ({"id": 5, "inputs": tensors()}, 400),
    "object as parameter": ({"parameters": {"a": {}}, "inputs": tensors()}, 400),
    "unknown input": (changed(name="nobody"), 400),
    "unknown output": ({"inputs": tensors(), "outputs": [{"name": "nobody"}]}, 400),
    "unknown datatype": (changed(datatype="STRING"), 400),
    "wrong datatype": (changed(datatype="BYTES", data=["a"]), 400),
    "too few elements": (changed(shape=[2]), 400),
    "too many elements": (changed(data=[1, 2]), 400),
    "negative size": (changed(shape=[-1]), 400),
    "rank 3": (changed(shape=[1, 1, 1]), 400),
    "huge shape": (changed(shape=[1 << 40]), 400),
    "other batch size": (changed(shape=[2], data=[1, 2]), 400),
    "no data": ({"inputs": [{"name": "age", "shape": [1], "datatype": "INT64"}]}, 400),
    "an object as element": (changed(data=[{"a": 1}]), 400),
    "a member hidden in data": (changed(data=['1,"x":2']), 422),
    "null": (changed(data=[None]), 422),
    "missing input": ({"inputs": tensors()[1:]}, 422),
    "an input twice": ({"inputs": [*tensors(), *tensors()]}, 400),
    "a fraction for an integer": (changed(datatype="FP64", data=[1.5]), 422),
    "negative timeout": ({"inputs": tensors(), "parameters": {"timeout": -1}}, 400),
}


@pytest.mark.parametrize("name", BAD, ids=lambda name: name.replace(" ", "-"))
def test_what_does_not_fit_is_one_text(port: int, name: str) -> None:
    call, status = BAD[name]
    answer = infer(port, call)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert answer.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("size", "tail"),
    [(8, b"1234567"), (8, b"123456789"), (-1, b"12345678"), (1 << 70, b"1"), (7, b"1234567")],
)
def test_binary_data_of_another_size_is_400(port: int, size: int, tail: bytes) -> None:
    call = tensors()
    del call[0]["data"]
    call[0]["parameters"] = {"binary_data_size": size}
    assert infer(port, {"inputs": call}, tail).status == 400


def test_json_size_beyond_the_body_is_400(port: int) -> None:
    header = (b"Inference-Header-Content-Length: 100000",)
    assert infer(port, {"inputs": tensors()}, headers=header).status == 400


def test_no_key_is_401_and_nan_is_missing(port: int) -> None:
    assert infer(port, {"inputs": tensors()}, key=None).status == 401
    raw = json.dumps(changed(datatype="FP64", data=[float("nan")])).encode()
    assert infer(port, raw).status == 422


def test_metadata_of_nobody_is_404(port: int) -> None:
    with Wire(port) as wire:
        for path in (
            "/v2/models/nobody",
            "/v2/models/nobody/ready",
            "/v2/models/credit/versions/9",
        ):
            answer = wire.send(request(method="GET", path=path)).answer()
            assert (answer.status, list(answer.json)) == (404, ["error"])
        answer = wire.send(request(b"", path="/v2/repository/index")).answer()
        assert answer.status == 200
