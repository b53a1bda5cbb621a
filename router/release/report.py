"""What a worker says about the releases it holds: heartbeats, gauges, lines of the log."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from router.metrics.slots import series
from router.plane import Plane
from router.release.build import INLINE_COST_US
from router.release.current import Current

HEARTBEAT_S = 2.0
HEARTBEAT = "SELECT node_heartbeat($1, $2, $3, $4, $5, $6)"


class Report:
    """Says what one worker serves.

    Args:
        plane: that serves it.
        port: of the worker.
    """

    def __init__(self, plane: Plane, *, port: int) -> None:
        self._plane = plane
        self._port = port
        self._beat_at = 0.0
        self._started = time.time()
        self._refused: set[str] = set()
        self._models: set[str] = set()

    def due(self) -> None:
        """Have the next heartbeat not wait for its turn."""
        self._beat_at = 0.0

    def gauges(self) -> None:
        """Bring the gauges up to date."""
        counters = self._plane.desk.counters
        counters.set("interlock_releases_loaded", len(self._plane.current.endpoints))
        self._show_refusals()
        self._show_memory()

    def _show_refusals(self) -> None:
        """A gauge per refused release; those that are over go back to 0."""
        counters = self._plane.desk.counters
        now = {
            series("interlock_release_refused", endpoint=each.what, code=each.code)
            for each in self._plane.current.refusals
        }
        for name in self._refused | now:
            counters.set(name, int(name in now))
        self._refused = now

    def _show_memory(self) -> None:
        """A gauge per loaded model, and the limit for all of them."""
        counters = self._plane.desk.counters
        now = {
            series("interlock_model_memory_bytes", model=each.name, version=each.version): each
            for endpoint in self._plane.current.all_endpoints()
            for each in endpoint.models.values()
        }
        for name in self._models - now.keys():
            counters.set(name, 0)
        for name, model in now.items():
            counters.set(name, model.memory_bytes)
        self._models = set(now)
        limit = self._plane.settings.models.memory_bytes
        counters.set("interlock_model_memory_limit_bytes", limit)

    async def beat(self, connection: Any) -> None:
        """Tell the control plane what this worker serves."""
        now = time.monotonic()
        if now < self._beat_at:
            return
        self._beat_at = now + HEARTBEAT_S
        plane = self._plane
        await connection.execute(
            HEARTBEAT,
            plane.settings.node,
            plane.desk.worker,
            os.getpid(),
            self._port,
            msgspec.json.encode(loaded(plane.current)).decode(),
            msgspec.json.encode(self._info()).decode(),
        )

    def _info(self) -> dict[str, Any]:
        current = self._plane.current
        return {
            "ready": self._plane.ready,
            "draining": self._plane.draining,
            "started_at": self._started,
            "roster": current.trust.version if current.trust else 0,
            "keys": len(current.keys),
            "fastlane": self._plane.settings.fastlane,
            "memory": {
                "models_bytes": sum(
                    {
                        model.digest: model.memory_bytes
                        for endpoint in current.all_endpoints()
                        for model in endpoint.models.values()
                    }.values()
                ),
                "limit_bytes": self._plane.settings.models.memory_bytes,
            },
            "refused": [msgspec.to_builtins(each) for each in current.refusals],
            "spool": {
                "boot": self._plane.desk.spool.boot,
                "last_seq": self._plane.desk.spool.last_seq,
                "dropped": self._plane.desk.spool.dropped,
            },
        }


def loaded(current: Current) -> list[dict[str, Any]]:
    """What a worker serves, for the heartbeat."""
    return [
        {
            "endpoint": endpoint.name,
            "release": endpoint.number,
            "digest": endpoint.digest,
            "suspended": endpoint.suspended,
            "pinned": [
                {"release": each.number, "digest": each.digest, "suspended": each.suspended}
                for each in current.pinned.values()
                if each.name == endpoint.name
            ],
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "package": model.digest,
                    "replay": model.replay,
                    "cost_us": round(model.cost_us, 1),
                    "memory_bytes": model.memory_bytes,
                }
                for model in endpoint.models.values()
            ],
        }
        for endpoint in current.endpoints.values()
    ]


def changes(before: Current, after: Current) -> list[str]:
    """What became different, one line each."""
    lines = []
    for name, endpoint in after.endpoints.items():
        old = before.endpoints.get(name)
        if old is None or old.number != endpoint.number:
            lines.append(f"serving {name} release {endpoint.number} ({endpoint.digest[:19]})")
        if not endpoint.inline and (old is None or old.number != endpoint.number):
            lines.append(f"{name} has a model that costs more than {INLINE_COST_US:.0f} us a row")
        if endpoint.suspended and not (old and old.suspended):
            lines.append(f"{name} is suspended")
    lines += [
        f"no longer serving {name}" for name in before.endpoints if name not in after.endpoints
    ]
    return lines


def differs(before: Current, after: Current) -> bool:
    """Whether there is something new to say: other releases, or others that were refused."""
    same = before.endpoints == after.endpoints and before.pinned == after.pinned
    return not same or before.refusals != after.refusals
