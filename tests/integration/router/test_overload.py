"""Requests that have waited for too long are told to come later, and may."""

from pathlib import Path

from router.settings import LimitSettings
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request

NOTHING_MS = 0.001
"""Nobody may wait but the first of a turn."""
PIPELINED = 20


def test_who_has_waited_too_long_is_refused_at_once_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    world.publish(tmp_path)
    limits = LimitSettings(shed_wait_ms=NOTHING_MS)
    settings = world.settings_for(tmp_path, limits=limits)
    router = RouterProcess(settings, tmp_path / "log").wait_ready()
    raw = request(world.body(1), key=world.ROUTING_KEY)
    health = request(method="GET", path="/livez")
    try:
        with Wire(router.port) as wire:
            assert wire.send(raw).answer().status == 200  # its head is known from now on
            for _ in range(5000):  # turns are timed once a timer of the loop was late
                wire.send(raw * PIPELINED)
                answers = [wire.answer() for _ in range(PIPELINED)]
                if answers[-1].status == 503:
                    break
            refused = [each for each in answers if each.status != 200]
            assert len(refused) > PIPELINED / 2
            assert {(each.status, each.code) for each in refused} == {(503, "node.busy")}
            assert {each.headers[b"retry-after"] for each in refused} == {b"1"}
            assert wire.send(raw).answer().status == 200
            assert wire.send(health * 3).answer().status == 200  # never turned away
        with Wire(router.port) as wire:
            metrics = wire.send(request(method="GET", path="/metrics")).answer().body
    finally:
        assert router.stop() == 0
    counted = b'refused_total{endpoint="credit",status="503",code="node.busy"} %d'
    assert counted % len(refused) in metrics
