"""Two routers on real packages, one per lane, with short deadlines; shared by the HTTP tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.settings import HttpSettings
from tests import router_world as world
from tests.router_process import RouterProcess, both_lanes

HTTP = HttpSettings(
    max_head_bytes=8 << 10,
    max_body_bytes=256 << 10,
    head_timeout_s=1.0,
    body_timeout_s=1.0,
    idle_timeout_s=60.0,
    write_timeout_s=1.0,
    write_buffer_bytes=64 << 10,
    drain_idle_ms=200,
    drain_s=5.0,
)


@pytest.fixture(scope="package")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RouterProcess]]:
    """A router per lane on the same releases."""

    def start(lane: str) -> RouterProcess:
        home: Path = tmp_path_factory.mktemp(f"router-{lane}")
        world.publish(home)
        settings = world.settings_for(home, fastlane=lane == "fast", http=HTTP)
        return RouterProcess(settings, home / "log")

    with both_lanes(start) as running:
        yield running


@pytest.fixture(params=["fast", "slow"])
def port(request: pytest.FixtureRequest, lanes: dict[str, RouterProcess]) -> int:
    """Port of a router that answers on one of the lanes."""
    return lanes[request.param].port
