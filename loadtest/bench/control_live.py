"""From a click to every worker: how long a release and a kill switch take on a running stack.

The stack is the one that ``interlock up --demo`` left in a home. A release with the same draft is
proposed and approved; then the clock runs from the request that activates it until many kept
connections, spread over the workers by the kernel, have all been answered by it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from compiler.signing import KeyPair, sign, unb64
from loadtest.bench.http_client import Client
from loadtest.errors import LoadTestError

MANAGER = "max@lender.example"
SECOND = "cora@lender.example"
ENDPOINT = "credit"
CONNECTIONS = 16
GIVE_UP_S = 10.0


class LiveFigures(Struct, frozen=True):
    """Seconds until every connection got the new answer."""

    publish_s: float
    suspend_s: float
    resume_s: float
    connections: int


async def measure_live(home: Path) -> LiveFigures:
    """Publish, suspend and resume on the running stack of a home.

    Raises:
        LoadTestError: no such stack, or it refuses a step.
    """
    try:
        state = msgspec.json.decode((home / "stack.json").read_bytes())
        story = msgspec.json.decode((home / "secrets" / "story.json").read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise LoadTestError(
            f"no running demo stack in {home}: {error}",
            hint="start one with: interlock up --demo",
        ) from error
    control = urlsplit(state["urls"]["control_plane"]).port
    router = urlsplit(state["urls"]["router"]).port
    assert control is not None
    assert router is not None
    manager = await _person(control, MANAGER, story["passwords"])
    second = await _person(control, SECOND, story["passwords"])
    body = await _request(manager)
    probes = [Client(router, story["key"], prefix="/v1") for _ in range(CONNECTIONS)]
    try:
        path, number = await _approved(manager, second, home)
        reason = {"reason": "measured"}
        activate = manager.expect("POST", path + "/activate")
        publish = await _timed(probes, body, activate, number)
        off = manager.expect("POST", f"/endpoints/{ENDPOINT}/suspend", reason)
        suspend = await _timed(probes, body, off, None)
        on = manager.expect("POST", f"/endpoints/{ENDPOINT}/resume", reason)
        resume = await _timed(probes, body, on, number)
    finally:
        for client in (*probes, manager, second):
            await client.close()
    return LiveFigures(publish, suspend, resume, CONNECTIONS)


async def _person(port: int, email: str, passwords: dict[str, str]) -> Client:
    client = Client(port)
    body = {"email": email, "password": passwords[email]}
    session = await client.expect("POST", "/login", body)
    await client.close()
    return Client(port, session["token"])


async def _request(manager: Client) -> Any:
    """A request that was answered before, from the evidence."""
    page = await manager.expect("GET", f"/audit/records?endpoint={ENDPOINT}&limit=50")
    for row in page["items"]:
        if row["status"] == 200:
            evidence = await manager.expect("GET", f"/audit/records/{row['id']}")
            features = evidence["record"]["features"]
            return {"features": features}
    raise LoadTestError(f"endpoint {ENDPOINT} has answered nobody yet")


async def _approved(manager: Client, second: Client, home: Path) -> tuple[str, int]:
    """Path and number of a new release with the draft as it is, approved by the second person."""
    body = {"justification": "measured by interlock bench control"}
    release = await manager.expect("POST", f"/endpoints/{ENDPOINT}/releases", body)
    path = f"/releases/{release['id']}"
    statement = await second.expect("GET", path + "/statement")
    key = KeyPair.load(home / "secrets" / "people" / f"{SECOND}.key")
    envelope = sign(statement["payload_type"], unb64(statement["payload"]), key)
    await second.expect("POST", path + "/approve", {"envelope": envelope.decode()})
    return path, int(release["number"])


async def _timed(probes: list[Client], body: Any, act: Awaitable[Any], number: int | None) -> float:
    """Seconds from an act until every probe is answered by this release (None: by none)."""
    begun = time.perf_counter()
    await act
    await asyncio.gather(*(_until(probe, body, number, begun) for probe in probes))
    return time.perf_counter() - begun


async def _until(probe: Client, body: Any, number: int | None, begun: float) -> None:
    while time.perf_counter() - begun < GIVE_UP_S:
        status, raw = await probe.call("POST", f"/predict/{ENDPOINT}", body)
        release = msgspec.json.decode(raw).get("release") if status == 200 else None
        if release == number:
            return
        await asyncio.sleep(0.005)
    raise LoadTestError(f"a worker did not follow within {GIVE_UP_S:.0f} s")
