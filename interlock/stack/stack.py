"""The stack as one context: everything starts in order, or nothing stays."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from control_plane.db.migrate import migrate
from interlock.embedded.binaries import redis_binary
from interlock.embedded.folders import prepare_home
from interlock.embedded.postgres import EmbeddedPostgres
from interlock.settings import Environment
from interlock.stack import services
from interlock.stack.database import (
    check_database,
    create_database,
    embedded_postgres,
    embedded_redis,
    embedded_urls,
    ensure_logins,
    without_password,
)
from interlock.stack.log import Log
from interlock.stack.ports import check_ports
from interlock.stack.previous import leftovers, wait_for_leftovers
from interlock.stack.probe import base_url
from interlock.stack.secrets import DatabaseSecrets, ensure_secrets, write_private
from interlock.stack.service import Service, ServiceSpec
from interlock.stack.steps import Steps
from router.sockets import bind_sockets


class Stack:
    """A running stack; ``async with`` starts and drains it.

    Services stop in groups, in the reverse order of their start: first the door (routers finish
    what they have), then those who work behind it, then the shipper, which ships what the routers
    recorded last, then the databases.

    Args:
        env: where and how.
        steps: shows progress.
    """

    def __init__(self, env: Environment, steps: Steps) -> None:
        self.env = env
        self.home = env.home
        self.started_at = datetime.now(UTC)
        self.services: dict[str, Service] = {}
        self.notes: list[str] = []
        self.is_new = False
        """Whether the database was empty: nobody can sign in yet."""
        self.log: Log | None = None
        self._steps = steps
        self._exit = AsyncExitStack()

    @property
    def router_url(self) -> str:
        """Base URL of the data plane."""
        return base_url(self.env.bind, self.env.port, tls=self.env.tls is not None)

    @property
    def control_url(self) -> str:
        """Base URL of the control plane."""
        return base_url(self.env.bind, self.env.control_port, tls=self.env.tls is not None)

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            AppError: something is in the way; whatever had started is stopped again.
        """
        async with AsyncExitStack() as exit_stack:
            await self._start(exit_stack)
            self._exit = exit_stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain and stop everything."""
        await self._exit.__aexit__(kind, error, trace)

    async def _start(self, exit_stack: AsyncExitStack) -> None:
        env, steps = self.env, self._steps
        self.home.check_unlocked()  # before the ports, which that other stack holds too
        if leftovers(self.home):
            with steps.step("before") as step:
                step.wait("waiting for the processes of a stack that was killed")
                await wait_for_leftovers(self.home)
                step.say("the processes of a stack that was killed have ended")
        check_ports(env)
        embedded = env.database_url is None or env.redis_url is None
        server = embedded_postgres(self.home, DatabaseSecrets("", "", {}))
        prepare_home(self.home.path, server.identity if embedded else None)
        outer = exit_stack.enter_context(ExitStack())
        outer.enter_context(self.home.locked())
        self.home.create()
        passwords = ensure_secrets(self.home)
        self.log = Log(self.home.log, self._steps.console)
        outer.callback(self.log.close)
        self.log.write("up", f"starting in {self.home.path} as process {os.getpid()}")

        group = await exit_stack.enter_async_context(Group(self))
        owner_url = await self._start_postgres(group, passwords)
        redis_url = await self._start_redis(group, passwords)
        with steps.step("schema") as step:
            applied = await migrate(owner_url)
            self.is_new = bool(applied) and min(applied) == 1
            step.say(f"{len(applied)} migrations applied" if applied else "up to date")
            if env.database_url is None:
                await ensure_logins(owner_url, passwords)
        await self._start_roles(exit_stack, redis_url)
        outer.callback(self.home.state.unlink, missing_ok=True)
        self.write_state()

    async def _start_postgres(self, group: Group, passwords: DatabaseSecrets) -> str:
        """Start the embedded PostgreSQL unless another one is given; URL of its owner."""
        given = self.env.database_url
        if given is not None:
            with self._steps.step("PostgreSQL") as step:
                await check_database(given)
                step.say(f"using {without_password(given)}")
            return given
        server = embedded_postgres(self.home, passwords)
        with self._steps.step("PostgreSQL") as step:
            await asyncio.to_thread(server.wait_for_previous)
            created = await asyncio.to_thread(_prepare, server, step.wait)
            await group.start(services.postgres_service(server))
            await group.ready()
            await create_database(server)
            step.say(f"{'created and ' if created else ''}running in {server.data}")
        url, _ = embedded_urls(self.home, "owner")
        assert url is not None
        return url

    async def _start_redis(self, group: Group, passwords: DatabaseSecrets) -> str | None:
        """Start the embedded Redis unless another one is given or none is installed; its URL."""
        if self.env.redis_url is not None:
            return self.env.redis_url
        if redis_binary() is None:
            self.notes.append(
                "no Redis found: routers notice changes by LISTEN and polling, and limits and "
                "idempotency hold per node (pip install 'interlock[embedded]' brings one)"
            )
            return None
        server = embedded_redis(self.home, passwords)
        with self._steps.step("Redis") as step:
            server.prepare()
            await group.start(services.redis_service(server))
            await group.ready()
            step.say(f"running in {server.data}")
        return server.url()

    async def _start_roles(self, exit_stack: AsyncExitStack, redis_url: str | None) -> None:
        """Start our own processes together, then wait for all of them."""
        groups = []
        listeners = bind_sockets(self.env.bind, self.env.port, self.env.workers)
        exit_stack.callback(close_all, listeners)
        with self._steps.step("processes") as step:
            for roles in (("shipper",), ("explainer", "worker", "control-plane"), ("router",)):
                group = await exit_stack.enter_async_context(Group(self))
                groups.append(group)
                for role in roles:
                    await group.start(self._role(role, redis_url, listeners))
            exit_stack.callback(close_all, listeners)  # the door closes before the drain
            step.wait("waiting for " + ", ".join(services.ROLES))
            await asyncio.gather(*(group.ready() for group in groups))
            for role in services.ROLES:
                self.services[role].check_alive()
            names = [f"{role} ({self.services[role].pid})" for role in services.ROLES]
            step.say(", ".join(names))

    def _role(
        self, role: str, redis_url: str | None, listeners: list[socket.socket]
    ) -> ServiceSpec:
        database_url = self.env.database_url
        if database_url is None:
            name = services.DATABASE_ROLE.get(role, role)
            database_url, _ = embedded_urls(self.home, name)
        return services.role_service(
            role,
            self.env,
            database_url=database_url,
            redis_url=redis_url,
            sockets=tuple(s.fileno() for s in listeners) if role == "router" else (),
        )

    def write_state(self) -> None:
        """Write ``stack.json``: what runs where."""
        state = {
            "pid": os.getpid(),
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "home": str(self.home.path),
            "node": self.env.node,
            "urls": {"router": self.router_url, "control_plane": self.control_url},
            "ports": {"router": self.env.port, "control_plane": self.env.control_port},
            "services": {name: service.pid for name, service in self.services.items()},
        }
        write_private(self.home.state, msgspec.json.format(msgspec.json.encode(state)) + b"\n")


class Group:
    """Services that start and stop together."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._members: list[Service] = []

    async def __aenter__(self) -> Self:
        """An empty group."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all members at once and wait for all of them."""
        await asyncio.gather(*(service.stop() for service in self._members))

    async def start(self, spec: ServiceSpec) -> None:
        """Start one more member."""
        stack = self._stack
        assert stack.log is not None
        service = Service(spec, stack.log, changed=self._changed)
        self._members.append(service)
        stack.services[spec.name] = service
        await service.__aenter__()

    def _changed(self) -> None:
        if not self._stack.home.state.exists():
            return
        try:
            self._stack.write_state()
        except OSError as error:  # a full disk: what runs matters more than the file about it
            assert self._stack.log is not None
            self._stack.log.event(f"stack.json is out of date: {error.strerror}")

    async def ready(self) -> None:
        """Wait until every member does its work.

        Raises:
            StartError: one did not start.
        """
        await asyncio.gather(*(service.wait_ready() for service in self._members))


def close_all(sockets: list[socket.socket]) -> None:
    """Close sockets that children hold too."""
    for each in sockets:
        each.close()


def _prepare(server: EmbeddedPostgres, tell: Callable[[str], None]) -> bool:
    """Create the data folder if there is none, telling what takes a moment."""
    if not (server.data / "PG_VERSION").exists():
        tell("creating the database")
    return server.prepare()
