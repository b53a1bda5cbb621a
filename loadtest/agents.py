"""Several machines send one schedule: agents serve their share, a controller merges the records.

No wall clock is needed: the controller estimates each agent's monotonic clock from round trips,
as NTP does, before and after the run, tells every agent the common start in its own time, and
moves the records back into its own. Clocks that drift apart during the run are told.
"""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from loadtest import record
from loadtest.agentwire import Bye, Channel, Ping, Pong, Refusal, Result, Start
from loadtest.errors import LoadTestError
from loadtest.plan import check_plan
from loadtest.processes import AgentClock, Raw, execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.errors import AppError
    from loadtest.plan import Plan

_PINGS = 32
_LEAD_S = 3.0
_IDLE_S = 30.0


def serve_agent(
    listener: socket.socket, token: bytes, *, owned: bool, sessions: int | None = None,
    tell: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Serve controllers, one after the other, until told to stop.

    Args:
        listener: bound and listening.
        token: shared secret.
        owned: whoever started this agent states that targets beyond this machine are his own.
        sessions: end after so many controllers.
        tell: prints.
    """
    served = 0
    while sessions is None or served < sessions:
        stream, (host, *_) = listener.accept()
        served += 1
        stream.settimeout(_IDLE_S)
        try:
            with Channel(stream, token, agent=True) as channel:
                _serve_one(channel, owned=owned, tell=tell)
        except (LoadTestError, OSError) as error:
            tell(f"session with {host} ended: {error}")
        finally:
            stream.close()


def _serve_one(channel: Channel, *, owned: bool, tell: Callable[[str], None]) -> None:
    from compiler.errors import AppError

    while True:
        message = channel.receive()
        if isinstance(message, Bye):
            return
        if isinstance(message, Ping):
            channel.send(Pong(time.monotonic_ns()))
            continue
        if not isinstance(message, Start):
            channel.send(Refusal(f"did not expect {type(message).__name__}"))
            return
        plan = msgspec.structs.replace(message.plan, owned=message.plan.owned and owned)
        try:
            check_plan(plan)
            tell(f"sending to {', '.join(t.authority for t in plan.targets)}")
            raw = execute(plan, at_ns=message.at_ns)
        except AppError as error:
            channel.send(Refusal(_in_a_line(error)))
            return
        columns = {
            name: np.ascontiguousarray(getattr(raw.records, name)).tobytes()
            for name in raw.records.__struct_fields__
        }
        channel.send(Result(columns, raw.reports, raw.start_ns, raw.end_ns, raw.wall_step_ns))


def _in_a_line(error: AppError) -> str:
    return f"{error.message} {f'({error.hint})' if error.hint else ''}".strip()


def execute_on_agents(plan: Plan, agents: tuple[tuple[str, int], ...], token: bytes) -> Raw:
    """Run a checked plan on agents.

    Args:
        plan: open loop; each agent gets an equal share.
        agents: host and port of each.
        token: shared secret.

    Raises:
        LoadTestError: an agent cannot be reached, refuses, or a closed loop was asked for.
    """
    if plan.load.closed:
        raise LoadTestError("a closed loop cannot be shared between agents", at="--agent")
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(_connect(agent, token)) for agent in agents]
        before, trips = zip(*(read_clock(channel) for channel in channels), strict=True)
        start = time.monotonic_ns() + int(_LEAD_S * 1e9)
        for k, channel in enumerate(channels):
            share = msgspec.structs.replace(
                plan,
                share=(k, len(channels)),
                limits=msgspec.structs.replace(
                    plan.limits, max_inflight=max(1, plan.limits.max_inflight // len(channels))
                ),
            )
            channel.send(Start(share, start + before[k]))
        with ThreadPoolExecutor(len(channels)) as pool:
            results = list(pool.map(lambda channel: channel.expect(Result), channels))
        after, later = zip(*(read_clock(channel) for channel in channels), strict=True)
        for channel in channels:
            channel.send(Bye())
    clocks = tuple(
        AgentClock(f"{host}:{port}", len(result.columns["outcome"]), max(first, last) / 2e3,
                   abs(a - b) / 1e3)
        for (host, port), result, first, last, a, b in zip(
            agents, results, trips, later, after, before, strict=True
        )
    )  # fmt: skip
    parts = [
        _to_own_clock(result, (a + b) // 2)
        for result, a, b in zip(results, after, before, strict=True)
    ]
    steps = max((result.wall_step_ns for result in results), key=abs)
    return Raw(
        records=record.merge(parts),
        reports=tuple(report for result in results for report in result.reports),
        start_ns=start,
        end_ns=max(r.end_ns - o for r, o in zip(results, before, strict=True)),
        interrupted=False,
        wall_step_ns=steps,
        clocks=clocks,
    )


def read_clock(channel: Channel) -> tuple[int, int]:
    """The agent's monotonic clock minus ours, and the quickest round trip that told; nanoseconds.

    The offset is wrong by half the round trip at most.
    """
    best = (1 << 62, 0)
    for _ in range(_PINGS):
        sent = time.monotonic_ns()
        channel.send(Ping())
        said = channel.expect(Pong).monotonic_ns
        came = time.monotonic_ns()
        best = min(best, (came - sent, said - (sent + came) // 2))
    return best[1], best[0]


def _connect(agent: tuple[str, int], token: bytes) -> Channel:
    host, port = agent
    try:
        stream = socket.create_connection(agent, timeout=10)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(None)
        return Channel(stream, token, agent=False)
    except OSError as error:
        raise LoadTestError(
            f"cannot reach agent {host}:{port}: {error.strerror or error}", at="--agent",
            hint="start it there: interlock loadtest agent --listen HOST:PORT",
        ) from None  # fmt: skip


def _to_own_clock(result: Result, offset: int) -> record.Records:
    columns = {}
    for name, kind in record.DTYPES.items():
        values = np.frombuffer(result.columns[name], dtype=kind).copy()
        if name in record.TIMES:
            values[values > 0] -= offset
        columns[name] = values
    return record.Records(**columns)


def parse_agent(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``.

    >>> parse_agent("10.0.0.7:9000")
    ('10.0.0.7', 9000)
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise LoadTestError(f"expected HOST:PORT, got {text!r}", at="--agent")
    return host.strip("[]"), int(port)
