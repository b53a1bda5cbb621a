"""Fixtures of the audit fault tests."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.spool import settings, source, start_shipper

__all__ = ["own_postgres", "settings", "source", "start_shipper"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long forms run only when a marker expression asks for them."""
    if not config.option.markexpr:
        long = pytest.mark.skip(reason="long form: run with -m slow")
        for item in items:
            if item.get_closest_marker("slow") and Path(__file__).parent in item.path.parents:
                item.add_marker(long)


class OwnPostgres:
    """A PostgreSQL of one test, which the test may stop, kill and start."""

    def __init__(self, home: Path) -> None:
        from interlock.embedded.postgres import FAST_AND_LOSSY, EmbeddedPostgres, new_password

        self.server = EmbeddedPostgres(home, password=new_password(), settings=FAST_AND_LOSSY)
        self.server.prepare()
        self._log = home / "own.log"
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        from interlock.child import process

        with self._log.open("ab") as output:
            child: Any = process.start(
                self.server.command(),
                identity=self.server.identity,
                env=self.server.environment(),
                death_signal=signal.SIGQUIT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self.server.ready(child.pid), child, self._log)
        self._child = child

    def stop(self, with_signal: int) -> None:
        """SIGINT ends sessions and stops, SIGQUIT is a crash, SIGTERM waits for clients."""
        assert self._child is not None
        self._child.send_signal(with_signal)
        self._child.wait()

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def url(self) -> str:
        return self.server.url()

    def close(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
            self.stop(signal.SIGQUIT)


@pytest.fixture
def own_postgres(open_folder: Path) -> Iterator[OwnPostgres]:
    """A migrated PostgreSQL that belongs to this test alone."""
    server = OwnPostgres(open_folder)
    yield server
    server.close()
