"""One measurement of one server: saturation, processor time per request, latency at half load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loadtest.bench.credit import ENDPOINT
from loadtest.errors import LoadTestError
from loadtest.payloads import encode_v2
from loadtest.plan import Limits, Load, Plan, Sender, Template
from loadtest.preflight import preflight
from loadtest.processes import execute
from loadtest.requests import build_request
from loadtest.schedule import constant
from loadtest.summary import summarise

if TYPE_CHECKING:
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server

_WRK_RATE = re.compile(r"(\d+) requests in ([0-9.]+)(us|ms|s|m)")
_WRK_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


class Requests(Struct, frozen=True):
    """What is sent to a server.

    Attributes:
        path: where it goes.
        bodies: in turn.
        headers: of every request.
        content_type: of every body.
        own: headers of each body, aligned with ``bodies``; empty for none.
    """

    path: str
    bodies: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    own: tuple[tuple[tuple[str, str], ...], ...] = ()


def v2_requests(
    node: Node, headers: tuple[tuple[str, str], ...], *, binary: bool, rows: int = 1
) -> Requests:
    """The node's rows in the Open Inference Protocol, a tensor per feature.

    Args:
        node: whose rows and schema.
        headers: of every request.
        binary: tensors as binary data behind the JSON part.
        rows: per request.
    """
    source = [msgspec.json.decode(body) for body in node.bodies]
    parts = [source[at : at + rows] for at in range(0, len(source) - rows + 1, rows)]
    made = [encode_v2(part, node.features, binary=binary) for part in parts]
    return Requests(
        f"/v2/models/{ENDPOINT}/infer",
        tuple(each.data for each in made),
        headers,
        made[0].content_type,
        tuple(each.headers for each in made),
    )


class Sample(Struct, frozen=True):
    """One run against one server; CPU in microseconds per request, latency in microseconds."""

    server: str
    requests_per_s: float
    cpu_us: float
    requests: int
    errors: int
    p50_us: float | None = None
    p99_us: float | None = None
    half_rate: float | None = None


class Result(Struct, frozen=True):
    """Medians over the runs of one server, with the lowest and highest CPU per request."""

    server: str
    requests_per_s: float
    cpu_us: float
    cpu_us_low: float
    cpu_us_high: float
    p50_us: float | None
    p99_us: float | None
    half_rate: float | None
    errors: int
    rss_anon_mb: float
    runs: int

    @property
    def core_share(self) -> float:
        """Share of its core that the server had while saturated; far below 1 it was not alone."""
        return self.cpu_us * self.requests_per_s / 1e6


def make_plan(
    server: Server, requests: Requests, load: Load, cpu: int, connections: int, *,
    limits: Limits | None = None,
) -> Plan:  # fmt: skip
    """A plan of the own generator, on one core."""
    own = requests.own or ((),) * len(requests.bodies)
    templates = tuple(
        Template(
            build_request(
                server.target, requests.path, body, headers=requests.headers + more,
                content_type=requests.content_type,
            )
        )
        for body, more in zip(requests.bodies, own, strict=True)
    )  # fmt: skip
    sender = Sender(cpus=(cpu,), connections=connections)
    return Plan((server.target,), templates, load, limits=limits or Limits(), sender=sender)


def check_server(server: Server, requests: Requests) -> None:
    """Every body once; a server that answers wrongly is not measured.

    Raises:
        TargetError: what it answered.
    """
    preflight(make_plan(server, requests, Load(constant(1, 1)), 0, 1))


def saturate(
    server: Server, requests: Requests, *, client: str, seconds: float, cpu: int, connections: int
) -> Sample:
    """Closed loop as fast as the server answers, and what each request cost it."""
    before = server.cpu_s()
    if client == "wrk" and not requests.own:
        done, elapsed, errors = _wrk(server, requests, seconds, cpu, connections)
    else:
        load = Load(constant(0, seconds), closed=connections)
        plan = make_plan(server, requests, load, cpu, connections)
        figures = summarise(plan, execute(plan)).figures
        done, elapsed = figures.requests, seconds
        errors = figures.requests - figures.outcomes.get("good", 0)
    spent = server.cpu_s() - before
    return Sample(server.name, done / elapsed, spent / max(done, 1) * 1e6, done, errors)


def half_load(
    server: Server, requests: Requests, sample: Sample, *, seconds: float, cpu: int,
    connections: int,
) -> Sample:  # fmt: skip
    """The same sample with the corrected latency of an open loop at half its rate."""
    rate = sample.requests_per_s / 2
    load = Load(constant(rate, seconds), warmup_s=0.5)
    plan = make_plan(server, requests, load, cpu, connections)
    by = {p.percentile: p.corrected for p in summarise(plan, execute(plan)).figures.percentiles}
    return Sample(
        sample.server, sample.requests_per_s, sample.cpu_us, sample.requests, sample.errors,
        by[0.5], by[0.99], rate,
    )  # fmt: skip


def combine(samples: list[Sample], rss_anon_mb: float) -> Result:
    """Medians of one server's samples."""
    cpu = [sample.cpu_us for sample in samples]

    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return median(known) if known else None

    return Result(
        server=samples[0].server,
        requests_per_s=median(sample.requests_per_s for sample in samples),
        cpu_us=median(cpu),
        cpu_us_low=min(cpu),
        cpu_us_high=max(cpu),
        p50_us=middle([sample.p50_us for sample in samples]),
        p99_us=middle([sample.p99_us for sample in samples]),
        half_rate=middle([sample.half_rate for sample in samples]),
        errors=sum(sample.errors for sample in samples),
        rss_anon_mb=rss_anon_mb,
        runs=len(samples),
    )


def _wrk(
    server: Server, requests: Requests, seconds: float, cpu: int, connections: int
) -> tuple[int, float, int]:
    """Requests, seconds and errors of wrk, which sends the bodies in turn."""
    program = shutil.which("wrk")
    if program is None:
        raise LoadTestError("wrk is not installed", at="--client", hint="use --client own")
    with tempfile.TemporaryDirectory(prefix="interlock-wrk-") as folder:
        script = Path(folder) / "bodies.lua"
        script.touch(mode=0o600)  # it holds the key
        script.write_text(_lua(requests), encoding="utf-8")
        result = subprocess.run(
            [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script),
             f"http://{server.target.authority}{requests.path}"],
            capture_output=True, text=True, check=False, timeout=seconds + 60,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )  # fmt: skip
    found = _WRK_RATE.search(result.stdout)
    if found is None:
        raise LoadTestError(f"wrk said: {(result.stdout + result.stderr)[-500:]}", at="--client")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[found[3]]
    bad = sum(int(match[1] or 1) for match in _WRK_BAD.finditer(result.stdout))
    return int(found[1]), float(found[2]) * unit, bad


def _lua(requests: Requests) -> str:
    """A wrk script; long brackets keep every byte of a body as it is."""
    lines = ['wrk.method = "POST"', f'wrk.headers["Content-Type"] = "{requests.content_type}"']
    lines += [
        f"wrk.headers[ [==[{name}]==] ] = [==[{value}]==]" for name, value in requests.headers
    ]
    lines.append("local bodies = {")
    lines += [f"[==[{body.decode()}]==]," for body in requests.bodies]
    lines += [
        "}",
        "local built, at = {}, 0",
        "init = function() for i, b in ipairs(bodies) do",
        "  built[i] = wrk.format(nil, nil, nil, b) end end",
        "request = function() at = at % #built + 1; return built[at] end",
    ]
    return "\n".join(lines)
