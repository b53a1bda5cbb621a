"""``interlock nodes drain --wait``: what a scale-in hook relies on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from router.settings import HttpSettings
from serving.settings import ShipperSettings
from tests import router_world as world
from tests.router_process import RouterProcess, Wire, request
from tests.spool import fetch, start_shipper  # noqa: F401 - a fixture

HTTP = HttpSettings(drain_idle_ms=200, drain_s=5.0)


def drain(home: Path, database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    given = {
        "DATABASE_URL": database_url,
        "INTERLOCK_NODE": "north",
        "INTERLOCK_SPOOL": str(home / "spool"),
        "INTERLOCK_HOME": str(home),
    }
    return subprocess.run(
        [sys.executable, "-m", "interlock", "nodes", "drain", *words],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_drain_ends_when_every_answer_is_in_the_database(
    tmp_path: Path,
    database_url: str,
    start_shipper,  # noqa: F811 - the fixture above
) -> None:
    world.publish(tmp_path)
    settings = world.settings_for(tmp_path, node="north", workers=2, http=HTTP)
    router = RouterProcess(settings, tmp_path / "log")
    try:
        router.wait_ready()
        ids = set()
        for _ in range(4):
            with Wire(router.port) as wire:
                for number in range(100):
                    raw = request(world.body(number), key=world.ROUTING_KEY)
                    ids.add(wire.send(raw).answer().json["id"])
        refused = drain(tmp_path, database_url, "south")
        assert refused.returncode != 0
        assert "expected to run on node 'south', this is 'north'" in refused.stderr

        early = drain(tmp_path, database_url, "--wait", "--timeout", "1", "--json")
        assert early.returncode == 1, early.stderr  # nobody ships yet
        assert json.loads(early.stdout)["routers"] == [router.process.pid]
        assert router.process.wait(30) == 0

        start_shipper(ShipperSettings(database_url, tmp_path / "spool", "north", linger_ms=1))
        done = drain(tmp_path, database_url, "north", "--wait", "--timeout", "60")
        assert done.returncode == 0, done.stderr
        assert "node north is drained" in done.stdout
    finally:
        router.stop()
    rows = await fetch(database_url, "SELECT id FROM audit_records")
    assert ids <= {str(UUID(bytes=row["id"].bytes)) for row in rows}
