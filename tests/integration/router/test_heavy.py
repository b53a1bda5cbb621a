"""Models too costly for the event loop, over HTTP, on both lanes: in order, bounded, recorded."""

import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compiler.package import read_package
from router.metrics.slots import sum_files
from router.release.spec import ModelRef, Policies
from router.settings import HttpSettings
from serving.audit.frame import RECORD
from serving.audit.record import AuditRecord, decode_record
from serving.audit.recover import SegmentReader
from serving.engine import Engine
from serving.limits import BatchSettings, ModelSettings
from tests import router_world as world
from tests.builders import request_struct, signed_package
from tests.router_process import RouterProcess, Wire, both_lanes, get, request

KEY = world.ROUTING_KEY
QUEUE = 16
LONG = 3000
"""Rows of a call that keeps the costly model busy for a second or so."""
RULES = {"text": "IF credit_amount < 2000 THEN quick_approval ELSE neighbours"}
CHEAP, COSTLY = 0, 1  # applications by their route


def publish(home: Path) -> None:
    """The cheap endpoint ``credit``, and ``near``, where a nearest-neighbour model decides."""
    store = home / "artifacts"
    package = signed_package(store, estimator="k_neighbors", name="neighbours")
    cheap = world.credit(store)
    refs = (cheap.models[0], ModelRef("neighbours", 1, package.digest))
    near = world.credit(store, endpoint="near", rules=RULES, policies=Policies(timeout_ms=60_000))
    world.publish(
        home,
        (cheap, msgspec.structs.replace(near, models=refs)),
        (world.routing_key(("credit", "near")),),
    )


def start(home: Path, *, fast: bool) -> RouterProcess:
    publish(home)
    settings = world.settings_for(
        home,
        fastlane=fast,
        http=HttpSettings(drain_idle_ms=200, drain_s=30.0),
        models=ModelSettings(batching=BatchSettings(max_queue=QUEUE)),
    )
    return RouterProcess(settings, home / "log")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RouterProcess]]:
    def begin(lane: str) -> RouterProcess:
        return start(tmp_path_factory.mktemp(f"heavy-{lane}"), fast=lane == "fast")

    with both_lanes(begin) as routers:
        yield routers


@pytest.fixture(params=["fast", "slow"])
def router(request: pytest.FixtureRequest, running: dict[str, RouterProcess]) -> RouterProcess:
    return running[request.param]


def place(route: int, number: int = 0) -> int:
    """The n-th application that takes a route."""
    amounts = [world.row(index)["credit_amount"] >= 2000 for index in range(200)]
    return [index for index, costly in enumerate(amounts) if costly == bool(route)][number]


def ask(body: bytes, endpoint: str = "near", **fields: Any) -> bytes:
    return request(body, path=f"/v1/predict/{endpoint}", key=KEY, **fields)


def one(route: int, number: int = 0, headers: tuple[bytes, ...] = (), **fields: Any) -> bytes:
    return ask(world.body(place(route, number), **fields), headers=headers)


def many(count: int, **fields: Any) -> bytes:
    index = place(COSTLY)
    rows = [{"features": world.row(index), **fields}] * count
    return ask(msgspec.json.encode({"rows": rows}))


def records(home: Path) -> list[AuditRecord]:
    found = []
    for path in sorted((home / "spool" / "test").glob("*.seg")):
        with SegmentReader(path) as reader:
            frames = [each for each in reader.frames(dead=True) if each.kind == RECORD]
            found += [decode_record(each.payload) for each in frames]
    return found


def test_costly_model_answers_what_it_answers_alone(router: RouterProcess) -> None:
    folder = router.settings.home / "artifacts" / "packages"
    package = next(
        path
        for path in folder.iterdir()
        if read_package(path, expected_digest=None).manifest.name == "neighbours"
    )
    model = Engine.load(package)
    kind = request_struct({name: model.features[name] for name in model.encoding.features()})
    score = model.bind(kind)
    with Wire(router.port) as wire:
        for number in range(5):
            row = world.row(place(COSTLY, number))
            label, shares = score(kind(**{name: row[name] for name in kind.__struct_fields__}))
            answer = wire.send(one(COSTLY, number)).answer()
            assert answer.status == 200
            assert answer.json["model"] == "neighbours"
            assert answer.json["outputs"] == {
                "label": label,
                "probability": dict(zip(("bad", "good"), shares, strict=True)),
            }


def test_wait_for_a_batch_is_counted_apart_from_the_model(router: RouterProcess) -> None:
    def counted() -> tuple[int, int]:
        known = sum_files(router.settings.metrics_dir)
        ours = 'endpoint="near",release="7"'
        infer = f'interlock_infer_duration_seconds_total{{{ours},model="neighbours",version="1"}}'
        return known[f"interlock_batch_wait_seconds_total{{{ours}}}"], known[infer]

    wait, infer = counted()
    with Wire(router.port) as wire:
        assert wire.send(one(CHEAP)).answer().status == 200
        assert counted() == (wait, infer)
        assert wire.send(one(COSTLY)).answer().status == 200
    assert counted()[0] > wait
    assert counted()[1] > infer


def test_lanes_answer_alike(running: dict[str, RouterProcess]) -> None:
    answers = []
    for router in running.values():
        with Wire(router.port) as wire:
            found = [wire.send(call).answer() for call in (one(COSTLY, id="a"), one(CHEAP, id="b"))]
        for each in found:
            document = each.json
            document.pop("id")
            answers.append((each.status, sorted(each.headers), document))
    assert answers[:2] == answers[2:]


def test_pipelined_answers_keep_their_order(router: RouterProcess) -> None:
    routes = [COSTLY, CHEAP, COSTLY, COSTLY, CHEAP, CHEAP, COSTLY]
    calls = [one(route, number, id=str(number)) for number, route in enumerate(routes)]
    calls.insert(3, request(method="GET", path="/livez"))
    with Wire(router.port) as wire:
        for _ in range(2):  # the second time the heads are known
            wire.send(b"".join(calls))
            answers = [wire.answer() for _ in calls]
            assert [each.status for each in answers] == [200] * len(calls)
            answers.pop(3)
            assert [each.json["request_id"] for each in answers] == [str(n) for n in range(7)]


def test_mixed_rows_are_split_scored_and_put_back_in_order(router: RouterProcess) -> None:
    routes = [COSTLY, CHEAP, COSTLY, CHEAP, CHEAP, COSTLY]
    rows = [
        {"features": world.row(place(route, number)), "id": str(number)}
        for number, route in enumerate(routes)
    ]
    with Wire(router.port) as wire:
        together = wire.send(ask(msgspec.json.encode({"rows": rows}))).answer().json["results"]
        alone = [wire.send(ask(msgspec.json.encode(row))).answer().json for row in rows]
    for each in (*together, *alone):
        each.pop("id")
    assert together == alone
    assert [each["model"] for each in alone] == [
        "neighbours" if route else "quick_approval" for route in routes
    ]


def test_deadline_is_504_and_recorded(router: RouterProcess) -> None:
    with Wire(router.port, 60.0) as wire:
        answer = wire.send(many(LONG, timeout_ms=1, id="late")).answer()
        assert (answer.status, answer.json["code"]) == (504, "deadline.exceeded")
        assert "1 ms" in answer.json["detail"]
        assert wire.send(one(CHEAP)).answer().status == 200
    late = [each for each in records(router.settings.home) if each.request_id == "late"]
    assert [each.status for each in late] == [504]


def test_cheap_requests_pass_while_a_costly_run_is_on(router: RouterProcess) -> None:
    with Wire(router.port, 60.0) as costly, Wire(router.port) as cheap:
        costly.send(many(LONG))
        wait_until_read(router, costly)
        passed = 0
        while not select.select([costly.socket], [], [], 0)[0]:
            answer = cheap.send(ask(world.body(passed % 100), "credit")).answer()
            assert answer.status == 200
            assert cheap.send(one(CHEAP)).answer().status == 200
            passed += 1
        assert passed > 5, "they waited for it"
        assert len(costly.answer().json["results"]) == LONG


def test_full_queue_is_503_and_others_are_answered(router: RouterProcess) -> None:
    with Wire(router.port, 60.0) as first, Wire(router.port) as second, Wire(router.port) as third:
        first.send(many(LONG))
        wait_until_read(router, first)
        second.send(many(QUEUE))
        wait_until_read(router, second)
        answer = third.send(one(COSTLY)).answer()
        assert (answer.status, answer.json["code"]) == (503, "limit.queue")
        assert answer.headers[b"retry-after"] == b"1"
        assert len(second.answer().json["results"]) == QUEUE
        assert len(first.answer().json["results"]) == LONG


def wait_until_read(router: RouterProcess, wire: Wire) -> None:
    """A costly call that was sent before is in its place: later connections are read later."""
    for _ in range(3):
        assert b" 200 " in get(router.port, "/livez").split(b"\r\n")[0]
    assert not select.select([wire.socket], [], [], 0)[0]


def test_caller_that_leaves_is_recorded_and_its_mates_are_answered(router: RouterProcess) -> None:
    with Wire(router.port, 60.0) as first, Wire(router.port) as mate:
        first.send(many(LONG))
        wait_until_read(router, first)
        with Wire(router.port) as leaver:
            leaver.send(one(COSTLY, id="gone"))
            wait_until_read(router, leaver)
        mate.send(one(COSTLY, id="mate"))
        assert mate.answer().json["request_id"] == "mate"
        assert len(first.answer().json["results"]) == LONG
    found = {each.request_id: each.status for each in records(router.settings.home)}
    assert (found["gone"], found["mate"]) == (499, 200)


def test_bad_row_is_422_with_its_place(router: RouterProcess) -> None:
    good, bad = world.row(place(COSTLY)), world.row(place(COSTLY), credit_amount="much")
    body = msgspec.json.encode({"rows": [{"features": good}, {"features": bad}]})
    with Wire(router.port) as wire:
        answer = wire.send(ask(body)).answer()
    assert answer.status == 422
    assert answer.json["errors"][0]["at"] == "rows[1].credit_amount"


def test_stream_of_more_rows_than_the_queue_holds(router: RouterProcess) -> None:
    count = 4 * QUEUE
    lines = b"\n".join(world.body(place(number % 2), id=str(number)) for number in range(count))
    with Wire(router.port, 60.0) as wire:
        call = request(
            lines,
            path="/v1/stream/near",
            key=KEY,
            headers=(b"Content-Type: application/x-ndjson",),
        )
        answer = wire.send(call).answer()
    results = [msgspec.json.decode(line) for line in answer.body.splitlines()]
    assert [each["row"] for each in results] == list(range(count))
    assert all("error" not in each for each in results)
    assert {each["model"] for each in results} == {"neighbours", "quick_approval"}


def test_repeat_with_an_idempotency_key_gets_the_first_answer(router: RouterProcess) -> None:
    word = b"Idempotency-Key: once-%d" % router.port
    with Wire(router.port) as wire:
        first, second = (wire.send(one(COSTLY, headers=(word,))).answer() for _ in range(2))
    assert first.body == second.body
    assert second.headers[b"idempotency-replayed"] == b"true"


def test_drain_gives_the_answers_that_are_owed(tmp_path: Path) -> None:
    router = start(tmp_path, fast=True).wait_ready()
    with Wire(router.port, 60.0) as wire:
        wire.send(many(LONG))
        wait_until_read(router, wire)
        router.process.send_signal(signal.SIGTERM)
        answer = wire.answer()
        assert len(answer.json["results"]) == LONG
        assert answer.headers[b"connection"] == b"close"
    assert router.process.wait(30) == 0
