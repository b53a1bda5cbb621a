"""What the stack runs: the list of processes with their environment and readiness."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from interlock.embedded.postgres import EmbeddedPostgres
from interlock.embedded.redis import EmbeddedRedis
from interlock.settings import Environment
from interlock.stack.probe import http_status
from interlock.stack.service import ServiceSpec

ROLES = ("shipper", "explainer", "worker", "control-plane", "router")
"""In the order in which they start; a command each."""
STOP_S = 25.0
"""Longer than a router may drain and the control plane may finish its requests."""
DATABASE_ROLE = {"control-plane": "control"}
"""Database role of a process where it is not called like the process."""


def role_environment(
    env: Environment, database_url: str | None, redis_url: str | None
) -> dict[str, str]:
    """Environment of one process of the stack: the caller's, with the stack's own values."""
    values: Mapping[str, str | None] = {
        "INTERLOCK_HOME": str(env.home.path),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ARTIFACT_STORE": env.artifact_store,
        "INTERLOCK_BIND": env.bind,
        "INTERLOCK_PORT": str(env.port),
        "INTERLOCK_CONTROL_PORT": str(env.control_port),
        "INTERLOCK_WORKERS": str(env.workers),
        "INTERLOCK_NODE": env.node,
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a router.py where the user stands must not be imported for ours
    }
    rest = {name: value for name, value in os.environ.items() if name not in values}
    return rest | {name: value for name, value in values.items() if value is not None}


def role_service(
    role: str,
    env: Environment,
    *,
    database_url: str | None,
    redis_url: str | None,
    sockets: tuple[int, ...] = (),
) -> ServiceSpec:
    """One process of the stack as a child that runs ``interlock ROLE``."""

    async def router_answers(_: int) -> bool:
        return await http_status(env.bind, env.port, "/livez", env.tls) == 200

    async def control_plane_answers(_: int) -> bool:
        status = await http_status(env.bind, env.control_port, "/readyz", env.tls)
        return status == 200

    checks = {"router": router_answers, "control-plane": control_plane_answers}
    return ServiceSpec(
        name=role,
        command=(sys.executable, "-m", "interlock", role),
        env=role_environment(env, database_url, redis_url),
        ready=checks.get(role),
        stop_s=STOP_S,
        sockets=sockets,
    )


def postgres_service(server: EmbeddedPostgres) -> ServiceSpec:
    """The embedded PostgreSQL; SIGINT is its fast shutdown."""

    async def ready(pid: int) -> bool:
        return server.ready(pid)

    return ServiceSpec(
        name="postgres",
        command=tuple(server.command()),
        env=server.environment(),
        ready=ready,
        ready_s=60.0,  # recovery after a power cut reads the write-ahead log
        identity=server.identity,
        stop_signal=signal.SIGINT,
        stop_s=30.0,
        death_signal=signal.SIGINT,
    )


def redis_service(server: EmbeddedRedis) -> ServiceSpec:
    """The embedded Redis."""

    async def ready(_: int) -> bool:
        return await asyncio.to_thread(server.ready)

    path = os.environ.get("PATH", os.defpath)
    return ServiceSpec(
        name="redis",
        command=tuple(server.command()),
        env={"PATH": path, "HOME": str(Path(server.data))},
        ready=ready,
        identity=server.identity,
    )
