"""The process: starts, answers, cleans up after others, ends with status 0."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import asyncpg
import httpx

from control_plane import housekeeping

RUN = """
import sys
from pathlib import Path
from control_plane.serve import run
from control_plane.settings import ControlSettings
home = Path(sys.argv[1])
run(ControlSettings(sys.argv[2], str(home), home, sys.argv[3], home / "releaser.key",
                    home / "bootstrap.token", port=int(sys.argv[4])))
"""


async def test_sigterm_finishes_what_is_in_progress_and_exits_0(
    control_settings: Any, unused_tcp_port: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, str(control_settings.home), control_settings.database_url,
        control_settings.root_key, str(unused_tcp_port), stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as client:
        transport_ready = False
        while not transport_ready and process.returncode is None:
            try:
                transport_ready = (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                await asyncio.wait({asyncio.create_task(process.wait())}, timeout=0.05)
        assert transport_ready
        body = {"email": "a@b.example", "password": "wrong"}
        late = asyncio.create_task(client.post("/api/login", json=body))
        await asyncio.wait({late}, timeout=0.01)
        process.send_signal(signal.SIGTERM)
        assert (await late).status_code == 401
        assert await process.wait() == 0


async def test_what_has_run_out_is_forgotten_and_the_rest_stays(
    house: Any, staff: Any, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO login_attempts (at, email, address, ok) VALUES"
        " (now() - interval '40 days', 'old', '', false), (now(), 'new', '', false)"
    )
    await connection.execute(
        "INSERT INTO remembered_answers (actor, key, body_hash, created_at)"
        " VALUES ('a', 'old', 'x', now() - interval '3 days'), ('a', 'new', 'x', now())"
    )
    before = await connection.fetchval("SELECT count(*) FROM sessions")
    assert await housekeeping.clean(house.app.state.pool)
    attempts = await connection.fetch("SELECT email FROM login_attempts")
    answers = await connection.fetch("SELECT key FROM remembered_answers")
    assert [row["email"] for row in attempts] == ["new"]
    assert [row["key"] for row in answers] == ["new"]
    assert await connection.fetchval("SELECT count(*) FROM sessions") == before
    await connection.close()


async def test_one_process_cleans_at_a_time(house: Any, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('interlock housekeeping', 0))"
        )
        assert not await housekeeping.clean(house.app.state.pool)
    await connection.close()
