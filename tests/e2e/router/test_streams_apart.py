"""The process of the streams: started by the first one, replaced, and nobody else's affair."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.settings import HttpSettings
from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire
from tests.router_process import request as http_request

HTTP = HttpSettings(drain_idle_ms=200, drain_s=5.0)
ROWS = 50
LINES = b"\n".join(world.body(number) for number in range(ROWS))


@pytest.fixture(params=[2])
def router(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RouterProcess]:
    world.publish(tmp_path)
    settings = world.settings_for(tmp_path, workers=request.param, http=HTTP)
    process = RouterProcess(settings, tmp_path / "log")
    try:
        yield process.wait_ready()
    finally:
        process.stop()


def stream(body: bytes = LINES) -> bytes:
    return http_request(
        body,
        path="/v1/stream/credit",
        key=world.ROUTING_KEY,
        headers=(b"Content-Type: application/x-ndjson",),
    )


def threads(process: int) -> list[Path]:
    return list(Path(f"/proc/{process}/task").iterdir())


def rows(answer: Answer) -> list[int]:
    assert answer.status == 200
    return [json.loads(line)["row"] for line in answer.body.splitlines()]


def test_first_stream_starts_the_process_and_its_connection_ends_with_it(
    router: RouterProcess,
) -> None:
    assert sorted(router.workers()) == [0, 1]
    with Wire(router.port) as wire:
        assert rows(wire.send(stream()).answer()) == list(range(ROWS))
        assert wire.closed()
    apart = router.workers()
    assert sorted(apart) == [0, 1, 2]
    policies = {os.sched_getscheduler(int(each.name)) for each in threads(apart[2])}
    assert policies == {os.SCHED_IDLE}
    with Wire(router.port) as wire:
        assert rows(wire.send(stream()).answer()) == list(range(ROWS))
    assert router.workers() == apart
    assert router.stop() == 0
    assert router.log.read_text().count("stopped") == 3


def test_what_was_sent_before_the_stream_and_what_comes_later_is_in_order(
    router: RouterProcess,
) -> None:
    whole = stream((LINES + b"\n") * 20)  # more than one reading of a connection
    with Wire(router.port) as wire:
        wire.send(http_request(world.body(1), key=world.ROUTING_KEY), whole[:100_000])
        assert wire.answer().status == 200
        wire.send(whole[100_000:])
        assert len(rows(wire.answer())) == 20 * ROWS


def test_killed_process_is_replaced_when_the_next_stream_comes(router: RouterProcess) -> None:
    with Wire(router.port) as wire:
        wire.send(stream()).answer()
    before = router.workers()
    os.kill(before[2], signal.SIGKILL)
    with Wire(router.port) as wire:
        assert rows(wire.send(stream()).answer()) == list(range(ROWS))
    after = router.workers()
    assert (after[0], after[1]) == (before[0], before[1])
    assert after[2] != before[2]


def test_rolling_restart_replaces_it_like_a_worker(router: RouterProcess) -> None:
    with Wire(router.port) as wire:
        wire.send(stream()).answer()
    before = router.workers()
    router.process.send_signal(signal.SIGHUP)
    while set(before.values()) & set(router.workers().values()):
        with Wire(router.port) as wire:
            sound = http_request(world.body(1), key=world.ROUTING_KEY)
            assert wire.send(sound).answer().status == 200
    with Wire(router.port) as wire:
        assert rows(wire.send(stream()).answer()) == list(range(ROWS))
    assert sorted(router.workers()) == [0, 1, 2]
    assert router.stop() == 0


@pytest.mark.parametrize("router", [1], indirect=True)
def test_head_in_pieces_streams_in_the_worker(router: RouterProcess) -> None:
    raw = stream()
    with Wire(router.port) as wire:
        wire.send(raw[:40])
        with Wire(router.port) as other:  # the first piece has been read by then
            other.send(http_request(world.body(1), key=world.ROUTING_KEY)).answer()
        assert rows(wire.send(raw[40:]).answer()) == list(range(ROWS))
        assert wire.send(http_request(world.body(1), key=world.ROUTING_KEY)).answer().status == 200


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (stream().replace(b"ilk_", b"xxx_"), 401, "key.unknown"),
        (stream().replace(b"/credit", b"/nobody"), 403, "key.endpoint"),
        (stream().replace(b"Host: test\r\n", b""), 400, "http.host"),
    ],
)
def test_refusals_are_what_a_worker_says(
    router: RouterProcess, raw: bytes, status: int, code: str
) -> None:
    with Wire(router.port) as wire:
        answer = wire.send(raw).answer()
    assert (answer.status, answer.code) == (status, code)
