"""Nodes and crowds: two nodes side by side, thousands of idle connections, a bare installation."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from loadtest.proc import rss_anon_kb
from router.settings import HttpSettings
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request

HTTP = HttpSettings(drain_idle_ms=200, drain_s=5.0)
IDLE = 10_000
IDLE_KB = 12.0
"""Memory of one idle connection in the worker."""


def test_one_of_two_nodes_leaves_and_the_other_answers(tmp_path: Path) -> None:
    nodes = []
    for name in ("north", "south"):
        home = tmp_path / name
        world.publish(home)
        settings = world.settings_for(home, node=name, http=HTTP, spool_dir=tmp_path / "spool")
        nodes.append(RouterProcess(settings, home / "log"))
    try:
        ids = set()
        for node in nodes:
            with Wire(node.wait_ready().port) as wire:
                for number in range(50):
                    raw = request(world.body(number), key=world.ROUTING_KEY)
                    ids.add(wire.send(raw).answer().json["id"])
        assert len(ids) == 100
        assert nodes[0].stop() == 0
        with Wire(nodes[1].port) as wire:
            assert wire.send(request(world.body(1), key=world.ROUTING_KEY)).answer().status == 200
    finally:
        assert [node.stop() for node in nodes] == [0, 0]
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"north", "south"}


def test_ten_thousand_idle_connections_cost_nobody_anything(tmp_path: Path) -> None:
    world.publish(tmp_path)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # as a shell gives it to the router
    count = min(IDLE, hard - 500)
    patient = HttpSettings(drain_idle_ms=200, drain_s=5.0, head_timeout_s=60.0)
    router = RouterProcess(world.settings_for(tmp_path, http=patient), tmp_path / "log")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle: list[Wire] = []
    try:
        router.wait_ready()
        worker = router.workers()[0]
        with Wire(router.port) as wire:
            for number in range(100):  # everything that a request needs is there
                wire.send(request(world.body(number), key=world.ROUTING_KEY)).answer()
        before_kb = rss_anon_kb(worker)
        for _ in range(count):
            idle.append(Wire(router.port))
            if len(idle) % 100 == 0:  # keep within the accept queue
                idle[-1].send(request(method="GET", path="/livez")).answer()
        with Wire(router.port) as wire:
            for number in range(100):
                raw = request(world.body(number), key=world.ROUTING_KEY)
                assert wire.send(raw).answer().status == 200
            assert b"interlock_connections %d" % (count + 1) in metrics_of(wire, count + 1)
        each_kb = (rss_anon_kb(worker) - before_kb) / count
        assert each_kb < IDLE_KB
        for each in idle[:: count // 50]:
            raw = request(world.body(7), key=world.ROUTING_KEY)
            assert each.send(raw).answer().status == 200
    finally:
        for each in idle:
            each.socket.close()
        assert router.stop() == 0


def metrics_of(wire: Wire, connections: int) -> bytes:
    """The counters once the gauge of connections is up to date; it is set every second."""
    wanted = b"interlock_connections %d" % connections
    found = b""
    for _ in range(5000):
        found = wire.send(request(method="GET", path="/metrics")).answer().body
        if wanted in found:
            break
    return found


BARE = """
import sys
class Blocked:
    names = ("pyarrow", "aiobotocore", "sklearn", "skl2onnx", "onnx", "scipy", "pandas", "shap",
             "redis", "asyncpg")
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError("not installed: " + name)
sys.meta_path.insert(0, Blocked())
"""


def test_worker_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    world.publish(tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BARE)
    probe = subprocess.run(
        [sys.executable, "-c", "import pyarrow"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        check=False,
    )
    assert b"not installed: pyarrow" in probe.stderr
    router = RouterProcess(world.settings_for(tmp_path, http=HTTP), tmp_path / "log", [site])
    try:
        with Wire(router.wait_ready().port) as wire:
            assert wire.send(request(world.body(1), key=world.ROUTING_KEY)).answer().status == 200
            assert wire.send(request(method="GET", path="/metrics")).answer().status == 200
    finally:
        assert router.stop() == 0
