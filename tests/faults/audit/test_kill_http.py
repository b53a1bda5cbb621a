"""R4 over HTTP: workers and the shipper are killed at random under load; the client's list decides.

What the client saw acknowledged and what the database holds are compared id by id at the end.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from uuid import UUID

import msgspec
import pytest

from router.release.spec import Policies
from serving.audit.certificate import certify
from serving.audit.link import connect_once
from serving.audit.online import verify_online
from serving.settings import ShipperSettings
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request
from tests.spool import drain, fetch

CLIENTS = 4
LEVELS = ("process", "strict")


class Client(threading.Thread):
    """Asks without pause, and writes down what was acknowledged."""

    def __init__(self, port: int, number: int, stop: threading.Event) -> None:
        super().__init__()
        self.port = port
        self.number = number
        self.stop = stop
        self.acknowledged: list[bytes] = []
        self.broken = 0
        self.refused = 0

    def run(self) -> None:
        asked = 0
        while not self.stop.is_set():
            try:
                with Wire(self.port, 5.0) as wire:
                    while not self.stop.is_set():
                        asked += 1
                        level = LEVELS[asked % len(LEVELS)]
                        body = world.body(asked % 50, id=f"{self.number}-{asked}")
                        sent = request(body, path=f"/v1/predict/{level}", key=world.ROUTING_KEY)
                        answer = wire.send(sent).answer()
                        if answer.status == 200:
                            text = str(answer.json["id"]).replace("-", "")
                            self.acknowledged.append(bytes.fromhex(text))
                        else:
                            self.refused += 1
            except (OSError, EOFError):  # its worker died: this one answer was never given
                self.broken += 1


async def storm(home, database_url, start_shipper, *, kills, seed):
    """Kill so often; returns clients, and the settings of the shipper."""
    contents = [
        world.credit(home / "artifacts", endpoint=level, policies=Policies(durability=level))
        for level in LEVELS
    ]
    world.publish(home, contents, (world.routing_key(LEVELS),))
    settings = world.settings_for(home, workers=2, segment_bytes=256 * 1024)
    router = RouterProcess(settings, home / "log").wait_ready()
    shipping = ShipperSettings(
        database_url, settings.spool_dir, "test", linger_ms=5, poll_ms=2, backoff_max_s=0.2
    )
    shipper = start_shipper(shipping)
    stop = threading.Event()
    clients = [Client(router.port, number, stop) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    dice = random.Random(seed)
    for _ in range(kills):
        time.sleep(dice.uniform(0.0, 0.6))
        if dice.random() < 0.3:
            shipper.kill()
            shipper.wait()
            shipper = start_shipper(shipping)
            continue
        victims = sorted(router.workers().values())
        if victims:
            os.kill(dice.choice(victims), signal.SIGKILL)
    stop.set()
    for each in clients:
        each.join()
    assert router.stop() == 0
    shipper.kill()
    shipper.wait()
    return clients, shipping


async def check(clients, shipping, database_url):
    await drain(msgspec.structs.replace(shipping, drain_s=300))
    acknowledged = [each for client in clients for each in client.acknowledged]
    rows = await fetch(database_url, "SELECT id, status FROM audit_records")
    stored = [UUID(str(row["id"])).bytes for row in rows]
    assert len(stored) == len(set(stored)), "a record was stored twice"
    assert len(acknowledged) == len(set(acknowledged)) > 0
    assert set(acknowledged) <= set(stored), "an acknowledged decision has no record"
    # What was recorded and never acknowledged was under way when a worker died, one per connection.
    spare = len(stored) - len(acknowledged)
    assert spare <= sum(client.broken + client.refused for client in clients)
    certificate = await connect_once(database_url, "test", certify)
    assert certificate.complete
    report = await connect_once(database_url, "test", lambda c: verify_online(c, {}))
    assert report.findings == []
    assert list((shipping.spool_dir / "test").glob("*.seg")) == []


async def test_every_acknowledged_answer_has_one_record_when_processes_are_killed(
    tmp_path, database_url, start_shipper
):
    clients, shipping = await storm(tmp_path, database_url, start_shipper, kills=6, seed=1)
    await check(clients, shipping, database_url)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_every_acknowledged_answer_has_one_record_over_a_thousand_kills(
    tmp_path, database_url, start_shipper, seed
):
    clients, shipping = await storm(tmp_path, database_url, start_shipper, kills=100, seed=seed)
    await check(clients, shipping, database_url)
