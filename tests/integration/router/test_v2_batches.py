"""Requests of many rows, by columns and row by row: the same answers, whatever the evidence."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from loadtest.payloads import encode_v2
from router.batches import BLOCK_ROWS, LEAST_ROWS
from router.metrics.slots import sum_files
from router.release.spec import Policies
from serving.audit.frame import RECORD
from serving.audit.parts import local_path, read_summary
from serving.audit.record import AuditRecord, decode_record
from serving.audit.recover import SegmentReader
from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire, both_lanes, get, request

KEY = world.ROUTING_KEY
ALL = ("label", "probabilities", "decision", "id", "rule", "model", "decision_rule")
MANY = BLOCK_ROWS + 500
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RouterProcess]]:
    """A router per lane; its endpoints differ in the evidence that is kept."""

    def start(lane: str) -> RouterProcess:
        home = tmp_path_factory.mktemp(f"batches-{lane}")
        policies = {
            "parts": Policies(stream_evidence="parts", timeout_ms=60_000),
            "records": Policies(timeout_ms=60_000),
            "strict": Policies(stream_evidence="parts", durability="strict", timeout_ms=60_000),
        }
        contents = [
            world.credit(home / "artifacts", endpoint=name, policies=each)
            for name, each in policies.items()
        ]
        world.publish(home, contents, (world.routing_key(tuple(policies)),))
        settings = world.settings_for(home, fastlane=lane == "fast")
        return RouterProcess(settings, home / "log")

    with both_lanes(start) as routers:
        yield routers


@pytest.fixture(params=["fast", "slow"])
def router(request: pytest.FixtureRequest, running: dict[str, RouterProcess]) -> RouterProcess:
    return running[request.param]


def rows_of(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [{"features": world.row(number % 900, **changes)} for number in range(count)]


def ask(
    endpoint: str,
    rows: list[dict[str, Any]],
    *,
    binary: bool = True,
    wanted: tuple[str, ...] = ALL,
    headers: tuple[bytes, ...] = (),
    **fields: Any,
) -> bytes:
    """The bytes of a request."""
    body = encode_v2(rows, world.features(), binary=binary)
    size = int(dict(body.headers)["Inference-Header-Content-Length"]) if binary else len(body.data)
    outputs = [{"name": name, "parameters": {"binary_data": binary}} for name in wanted]
    call = {**msgspec.json.decode(body.data[:size]), "outputs": outputs, **fields}
    header = msgspec.json.encode(call)
    if binary:
        headers += (b"Inference-Header-Content-Length: %d" % len(header),)
    path = f"/v2/models/{endpoint}/infer"
    return request(header + body.data[size:], key=KEY, path=path, headers=headers)


def send(router: RouterProcess, raw: bytes) -> Answer:
    with Wire(router.port, 60.0) as wire:
        return wire.send(raw).answer()


def without_ids(answer: Answer) -> tuple[Any, bytes]:
    """Head and binary data of an answer, but for what is new in every one."""
    assert answer.status == 200, answer.body
    size = int(answer.headers.get(b"inference-header-content-length", len(answer.body)))
    head, tail = msgspec.json.decode(answer.body[:size]), answer.body[size:]
    head.pop("model_name")
    at = 0
    for output in head["outputs"]:
        length = output.get("parameters", {}).get("binary_data_size", 0)
        if output["name"] == "id":
            output.pop("data", None)
            tail = tail[:at] + tail[at + length :]
            length = 0
        at += length
    return head, tail


def records(router: RouterProcess) -> list[AuditRecord]:
    found = []
    for path in sorted((router.settings.home / "spool" / "test").glob("*.seg")):
        with SegmentReader(path) as reader:
            frames = [each for each in reader.frames(dead=True) if each.kind == RECORD]
            found += [decode_record(each.payload) for each in frames]
    return found


def named(router: RouterProcess, request_id: str) -> list[AuditRecord]:
    return [each for each in records(router) if each.request_id == request_id]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [2, LEAST_ROWS, 200, MANY])
def test_answers_are_those_of_single_rows(router: RouterProcess, count: int, binary: bool) -> None:
    rows = rows_of(count)
    by_columns = send(router, ask("parts", rows, binary=binary, id="x"))
    by_rows = send(router, ask("records", rows, binary=binary, id="x"))
    assert without_ids(by_columns) == without_ids(by_rows)
    plain = [send(router, ask(each, rows, wanted=())) for each in ("parts", "records")]
    assert without_ids(plain[0]) == without_ids(plain[1])


def test_batch_is_one_part_with_a_row_for_every_answer(router: RouterProcess) -> None:
    count, subject = MANY, f"subject-{router.port}"
    rows = rows_of(count)
    raw = ask(
        "parts", rows, binary=False, id="kept", parameters={"subject": subject},
        headers=(b"Traceparent: " + TRACE.encode(),),
    )  # fmt: skip
    outputs = {each["name"]: each["data"] for each in send(router, raw).json["outputs"]}
    (record,) = named(router, "kept")
    assert (record.endpoint, record.rows, record.status) == ("parts", count, 200)
    assert (record.traceparent, record.key_id) == (TRACE, "key-1")
    summary = read_summary(record.features)
    assert summary.subjects
    folder = router.settings.home / "spool" / "test"
    with pa.OSFile(str(local_path(folder, summary.part))) as file:
        kept = pa.ipc.open_file(file).read_all().to_pylist()
    assert [each["row"] for each in kept] == list(range(count))
    for place in (0, 1, BLOCK_ROWS, count - 1):
        row = kept[place]
        assert row["id"].hex() == outputs["id"][place].replace("-", "")
        assert (row["rule"], row["decision"]) == (
            outputs["rule"][place], outputs["decision"][place],
        )  # fmt: skip
        features = {name: row["input." + name] for name in rows[place]["features"]}
        assert features == rows[place]["features"]
        assert row["subject_ref"] not in (None, subject)


def test_batch_that_has_to_be_on_the_disk_is_answered_from_there(router: RouterProcess) -> None:
    answer = send(router, ask("strict", rows_of(LEAST_ROWS), binary=False, id="forced"))
    assert answer.json["parameters"] == {"durability": "strict"}
    (record,) = named(router, "forced")
    assert (record.rows, record.durability) == (LEAST_ROWS, "strict")


def test_rows_of_a_batch_are_counted(router: RouterProcess) -> None:
    def counted(name: str) -> int:
        found = sum_files(router.settings.metrics_dir)
        return sum(int(value) for key, value in found.items() if name in key and '"parts"' in key)

    names = (
        "interlock_route_decisions_total",
        "interlock_request_duration_seconds_bucket",
        "interlock_decision_rules_total",
    )
    before = [counted(name) for name in names]
    rejected = rows_of(10, purpose="retraining", credit_amount=5000)
    send(router, ask("parts", rows_of(LEAST_ROWS, purpose="radio/television") + rejected))
    after = [counted(name) for name in names]
    gained = [new - old for new, old in zip(after, before, strict=True)]
    assert gained == [LEAST_ROWS + 10, LEAST_ROWS + 10, LEAST_ROWS]


def test_row_that_does_not_fit_refuses_all_with_its_place(router: RouterProcess) -> None:
    rows = rows_of(100)
    rows[70]["features"]["job"] = "none at all"
    rows[80]["features"]["housing"] = "a tent"
    answers = [send(router, ask(each, rows, id="bad")) for each in ("parts", "records")]
    assert [each.status for each in answers] == [422, 422]
    assert answers[0].json == answers[1].json
    assert "rows[70].job" in answers[0].json["error"]
    kept = [(each.endpoint, each.status, each.rows) for each in named(router, "bad")]
    assert kept == [("parts", 422, 1), ("records", 422, 1)]


def test_damaged_tensor_is_refused_in_the_same_words(router: RouterProcess) -> None:
    raw = ask("parts", rows_of(100))
    for damaged in (
        raw.replace(b'"datatype":"INT64"', b'"datatype":"INT32"', 1),
        raw.replace(b'"shape":[100', b'"shape":[101', 1).replace(b'"id":"', b'"ix":"'),
        raw.replace(b'"name":"housing"', b'"name":"hausing"', 1),
    ):
        answers = [
            send(router, damaged.replace(b"/parts/", each, 1))
            for each in (b"/parts/", b"/records/")
        ]
        assert {each.status for each in answers} == {400}
        assert answers[0].json == answers[1].json


def test_batch_that_wants_explanations_has_a_record_a_row(router: RouterProcess) -> None:
    raw = ask("parts", rows_of(LEAST_ROWS), id="why", parameters={"explain": True})
    assert send(router, raw).status == 200
    assert [each.rows for each in named(router, "why")] == [1] * LEAST_ROWS


def test_batch_with_an_idempotency_key_is_decided_once(router: RouterProcess) -> None:
    raw = ask("parts", rows_of(100), id="once", headers=(b"Idempotency-Key: batch-1",))
    first, again = send(router, raw), send(router, raw)
    assert first.status == again.status == 200
    assert first.body == again.body
    assert len(named(router, "once")) == 100


def test_batch_that_comes_too_late_is_504_and_recorded(router: RouterProcess) -> None:
    raw = ask("parts", rows_of(5000), id="late", parameters={"timeout": 1})
    answer = send(router, raw)
    assert answer.status == 504, answer.body
    (record,) = named(router, "late")
    assert (record.status, record.rows) == (504, 1)
    assert msgspec.json.decode(record.features) == world.row(0)


@pytest.mark.parametrize("endpoint", ["parts", "records"])
def test_caller_that_leaves_is_recorded(router: RouterProcess, endpoint: str) -> None:
    with Wire(router.port) as leaver:
        leaver.send(ask(endpoint, rows_of(10_000), id=f"gone-{endpoint}"))
        assert b" 200 " in get(router.port, "/livez").split(b"\r\n")[0]
    for _ in range(2000):
        if any(each.status == 499 for each in named(router, f"gone-{endpoint}")):
            break
        get(router.port, "/livez")
    else:
        pytest.fail("nothing was recorded of it")


@pytest.mark.parametrize("endpoint", ["parts", "records"])
def test_others_are_answered_while_a_batch_is_decided(router: RouterProcess, endpoint: str) -> None:
    native = msgspec.json.encode({"rows": rows_of(8000)})
    calls = (
        ask(endpoint, rows_of(8000)),
        request(native, path=f"/v1/predict/{endpoint}", key=KEY),
    )
    for call in calls:
        with Wire(router.port, 60.0) as many, Wire(router.port, 60.0) as one:
            many.send(call)
            assert b" 200 " in get(router.port, "/livez").split(b"\r\n")[0]
            raw = request(world.body(3), path="/v1/predict/records", key=KEY)
            passed = 0
            many.socket.setblocking(False)
            while True:
                try:
                    if many.socket.recv(1, 2):  # MSG_PEEK
                        break
                except BlockingIOError:
                    assert one.send(raw).answer().status == 200
                    passed += 1
            many.socket.settimeout(60.0)
            assert passed > 3, "they waited for it"
            assert many.answer().status == 200
