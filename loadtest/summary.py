"""The result of a run as one versioned document, and the exit status it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from msgspec import Struct

from loadtest import record
from loadtest.environment import Environment, read_environment, shared_cores
from loadtest.processes import AgentClock
from loadtest.resources import Binding
from loadtest.serverside import ServerSide
from loadtest.statistics import NO_LATENCY, Figures, Window, measure, windows
from loadtest.thresholds import Judgement, judge, parse_threshold
from loadtest.verdict import Reason, validate

if TYPE_CHECKING:
    from loadtest.plan import Plan
    from loadtest.processes import Raw

FORMAT = "interlock/loadtest/v1"
PASS, USAGE, INVALID, REGRESSION, INCONCLUSIVE, FAILED, INTERRUPTED = 0, 2, 3, 4, 5, 99, 130


class Summary(Struct, frozen=True):
    """Everything a report shows.

    Attributes:
        format: version of this document.
        loop: ``open``, or ``closed`` with its concurrency.
        profile, arrival, seed, warmup_s: of the schedule.
        targets: addresses.
        endpoints: figures per endpoint tag, when there are several.
        local: cores shared by generator and server; not empty labels the run LOCAL.
        valid: no validity rule was broken.
        thresholds: each with its verdict.
        exit_status: 0 pass, 99 threshold failed, 3 invalid, 130 interrupted.
        server: the router's own counters over the run, warm-up included.
        binding: the resource that was full during it, or the busiest.
        agents: machines that sent a share each, and their clocks.
    """

    figures: Figures
    windows: tuple[Window, ...]
    environment: Environment
    loop: str
    profile: str
    arrival: str
    seed: int
    warmup_s: float
    targets: tuple[str, ...]
    endpoints: dict[str, Figures]
    local: tuple[int, ...]
    valid: bool
    reasons: tuple[Reason, ...]
    thresholds: tuple[Judgement, ...]
    generator_cpu: float
    connections: int
    interrupted: bool
    exit_status: int
    server: ServerSide | None = None
    binding: Binding | None = None
    agents: tuple[AgentClock, ...] = ()
    format: Literal["interlock/loadtest/v1"] = "interlock/loadtest/v1"


def summarise(plan: Plan, raw: Raw, ceiling: float | None = None) -> Summary:
    """Judge a run."""
    load = plan.load
    begin = raw.start_ns + int(load.warmup_s * 1e9)
    seconds = load.measured_s
    if raw.interrupted:
        seconds = max(min(seconds, (raw.end_ns - begin) / 1e9), 1e-3)
    measured = raw.records.take(raw.records.scheduled >= begin)
    figures = measure(measured, seconds)
    slices = windows(measured, begin, seconds)
    reasons = validate(raw, load, figures, slices, ceiling)
    tags = np.array([template.endpoint for template in plan.templates])
    names = sorted(set(tags.tolist()))
    mine = tags[measured.choice] if len(measured) else tags[:0]
    parts = {name: measured.take(mine == name) for name in names}
    endpoints = {name: measure(parts[name], seconds) for name in names}
    judged = tuple(_judge(text, measured, figures, parts, endpoints) for text in plan.thresholds)
    local = tuple(
        sorted({c for target in plan.targets for c in shared_cores(target, plan.sender.cpus)})
    )
    uncertain = [j for j in judged if j.verdict == "unknown"]
    if uncertain:
        reasons += (Reason("samples", "generator", f"{uncertain[0].text}: {uncertain[0].why}"),)
    return Summary(
        figures=figures,
        windows=slices,
        environment=read_environment(plan),
        loop=f"closed, concurrency {load.closed}" if load.closed else "open",
        profile="trace" if load.trace else load.profile,
        arrival="trace" if load.trace else load.arrival,
        seed=load.seed,
        warmup_s=load.warmup_s,
        targets=tuple(target.authority for target in plan.targets),
        endpoints=endpoints if len(names) > 1 else {},
        local=local,
        valid=not reasons,
        reasons=reasons,
        thresholds=judged,
        generator_cpu=max((r.cpu_s / r.wall_s for r in raw.reports if r.wall_s), default=0.0),
        connections=sum(r.most_inflight for r in raw.reports),
        interrupted=raw.interrupted,
        exit_status=_status(raw.interrupted, reasons, judged),
        agents=raw.clocks,
    )


def with_server(summary: Summary, raw: Raw, server: ServerSide | None, binding: Binding) -> Summary:
    """The same summary with the server's side; what clients waited beyond its steps is queue."""
    if server is not None:
        ended = raw.records.take(~np.isin(raw.records.outcome, NO_LATENCY))
        sent = ended.take(ended.sent > 0)
        if len(sent):
            waited = float(np.mean(sent.last - sent.sent)) / 1e3
            inside = sum(server.stages.values()) or server.router_us
            server = msgspec.structs.replace(server, queue_us=max(waited - inside, 0.0))
    return msgspec.structs.replace(summary, server=server, binding=binding)


def _judge(
    text: str,
    measured: record.Records,
    figures: Figures,
    parts: dict[str, record.Records],
    endpoints: dict[str, Figures],
) -> Judgement:
    threshold = parse_threshold(text)
    if not threshold.endpoint:
        return judge(threshold, figures, corrected_us(measured))
    part = parts.get(threshold.endpoint)
    if part is None:
        return Judgement(text, "fail", None, None, f"no request had endpoint {threshold.endpoint}")
    return judge(threshold, endpoints[threshold.endpoint], corrected_us(part))


def corrected_us(records: record.Records) -> np.ndarray:
    """Corrected latencies of the requests that have one, ascending, microseconds."""
    kept = records.take(~np.isin(records.outcome, NO_LATENCY))
    ordered: np.ndarray = np.sort(kept.last - kept.scheduled) / 1e3
    return ordered


def _status(interrupted: bool, reasons: tuple[Reason, ...], judged: tuple[Judgement, ...]) -> int:
    if interrupted:
        return INTERRUPTED
    failed = any(j.verdict == "fail" for j in judged)
    if any(reason.side == "generator" for reason in reasons):
        return INVALID
    if failed:
        return FAILED
    return INVALID if reasons else PASS


def encode(summary: Summary) -> bytes:
    """``summary.json``: indented UTF-8."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def decode(data: bytes) -> Summary:
    """Read ``summary.json``."""
    return msgspec.json.decode(data, type=Summary)
