"""The rate of a key holds over nodes that share a Redis."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests import router_world as world
from tests.router_process import Answer, RouterProcess, Wire, request

BURST = 40


@pytest.fixture
def nodes(tmp_path: Path, redis_url: str) -> Iterator[list[RouterProcess]]:
    row = msgspec.structs.replace(world.routing_key(), rate_per_s=0.001, burst=BURST)
    running: list[RouterProcess] = []
    try:
        for name in ("a", "b"):
            home = tmp_path / name
            world.publish(home, rows=[row])
            settings = world.settings_for(home, node=name, redis_url=redis_url)
            running.append(RouterProcess(settings, tmp_path / f"{name}.log"))
        for each in running:
            each.wait_ready()
        yield running
    finally:
        for each in running:
            each.stop()


def ask(wires: list[Wire], rounds: int) -> list[Answer]:
    raw = request(world.body(), key=world.ROUTING_KEY)
    return [wire.send(raw).answer() for _ in range(rounds) for wire in wires]


def test_two_nodes_together_answer_no_more_than_the_key_may_ask(
    nodes: list[RouterProcess],
) -> None:
    with Wire(nodes[0].port) as one, Wire(nodes[1].port) as two:
        answers = ask([one, two], 4 * BURST)
        answers += ask([one, two], 2 * BURST)
    good = [each for each in answers if each.status == 200]
    refused = [each for each in answers if each.status == 429]
    assert len(good) + len(refused) == len(answers)
    # a burst in all, and the burst that a node may spend in the first moment before it has asked
    assert BURST <= len(good) <= 2 * BURST
    assert refused[-1].code == "limit.rate"
    assert int(refused[-1].headers[b"retry-after"]) >= 60
