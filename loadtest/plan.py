"""What a run is: frozen structs, complete before the first byte is sent.

Times are seconds where people write them and int64 nanoseconds on the monotonic clock inside.
"""

from __future__ import annotations

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from loadtest.errors import LoadTestError

Arrival = Literal["poisson", "constant"]
MAX_REQUESTS = 50_000_000
MAX_SECONDS = 24 * 3600.0


class Target(Struct, frozen=True):
    """One address that speaks HTTP/1.1."""

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """``host:port`` for the Host header; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True when the address can only be this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_target(url: str) -> Target:
    """Read ``http://host:port``.

    >>> parse_target("http://127.0.0.1:8080").authority
    '127.0.0.1:8080'

    Raises:
        LoadTestError: another scheme, no host, or a port that is not a number.
    """
    refused = LoadTestError(
        f"expected a URL like http://127.0.0.1:8080, got {url!r}",
        at="--url",
        hint="give scheme, host and port; paths are chosen by --endpoint or --path",
    )
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise refused from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise refused
    tls = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if tls else 80), tls)


class Load(Struct, frozen=True):
    """When requests are sent.

    Attributes:
        knots: (second, requests per second) corners of a piecewise linear rate; the first is at 0.
        arrival: ``poisson`` draws independent arrivals, ``constant`` spaces them evenly.
        warmup_s: seconds at the first rate before the knots begin; sent but not judged.
        seed: of the schedule and of the order of payloads.
        trace: offsets in seconds that replace knots and arrival; empty for none.
        closed: concurrency of a closed loop, or 0 for the open loop.
        profile: word for the report.
    """

    knots: tuple[tuple[float, float], ...]
    arrival: Arrival = "poisson"
    warmup_s: float = 0.0
    seed: int = 1
    trace: tuple[float, ...] = ()
    closed: int = 0
    profile: str = "constant"

    @property
    def measured_s(self) -> float:
        """Seconds that are judged."""
        return self.trace[-1] if self.trace else self.knots[-1][0]

    @property
    def steady(self) -> bool:
        """One rate from beginning to end, so that windows may be compared."""
        return not self.trace and len({rate for _, rate in self.knots}) == 1


class Limits(Struct, frozen=True):
    """Hard bounds; a run never passes them."""

    max_requests: int = 5_000_000
    max_seconds: float = 3600.0
    max_inflight: int = 2048
    timeout_s: float = 10.0


class Sender(Struct, frozen=True):
    """How load is made.

    Attributes:
        processes: generator processes; the schedule is dealt to them in turn.
        connections: opened before the run, all processes together; more are opened on demand.
        cpus: cores the processes are pinned to in turn; empty leaves it to the kernel.
        keep_alive: False opens a connection per request.
        abandon: share of requests whose client walks away.
        abandon_after_s: how long an abandoning client waits.
    """

    processes: int = 1
    connections: int = 32
    cpus: tuple[int, ...] = ()
    keep_alive: bool = True
    abandon: float = 0.0
    abandon_after_s: float = 0.005


class Template(Struct, frozen=True):
    """One prebuilt request.

    Attributes:
        data: head and body as sent.
        endpoint: tag under which its results are also reported.
        expect: checks of the answer as :mod:`loadtest.checks` reads them; empty checks nothing.
        golden: digest of the answer without its varying parts; empty checks nothing.
    """

    data: bytes
    endpoint: str = ""
    expect: tuple[str, ...] = ()
    golden: str = ""


class Plan(Struct, frozen=True):
    """Everything a run needs.

    Attributes:
        targets: addresses; connections are dealt to them in turn.
        templates: prebuilt requests.
        weights: relative share per template; empty means equal.
        statuses: HTTP statuses that count as good.
        thresholds: as written, such as ``p99<25ms``.
        owned: the caller states that targets other than loopback are his own.
        in_order: templates are sent in their order instead of drawn by weight.
        share: (k, n): this machine sends every n-th request of the schedule, from the k-th.
        metrics: request for the first target's own counters; empty asks for none.
        golden: the first answer to each template, before the run, is the one it must keep giving.
    """

    targets: tuple[Target, ...]
    templates: tuple[Template, ...]
    load: Load
    weights: tuple[float, ...] = ()
    limits: Limits = Limits()
    sender: Sender = Sender()
    statuses: tuple[int, ...] = (200,)
    thresholds: tuple[str, ...] = ()
    owned: bool = False
    in_order: bool = False
    golden: bool = False
    metrics: bytes = b""
    share: tuple[int, int] = (0, 1)


def check_plan(plan: Plan) -> None:
    """Refuse a plan that is unsafe or impossible.

    Raises:
        LoadTestError: with the flag to change.
    """
    load, limits, sender = plan.load, plan.limits, plan.sender
    foreign = [target.authority for target in plan.targets if not target.loopback]
    if foreign and not plan.owned:
        raise LoadTestError(
            f"{', '.join(foreign)} is not this machine",
            at="--url",
            hint="load may only be sent to systems of your own: add --i-own-this-target",
        )
    _require(bool(plan.targets), "--url", "at least one target", "none")
    _require(bool(plan.templates), "--payload", "at least one request to send", "none")
    _require(1 <= limits.max_requests <= MAX_REQUESTS, "--max-requests",
             f"1 to {MAX_REQUESTS}", limits.max_requests)  # fmt: skip
    _require(0 < limits.max_seconds <= MAX_SECONDS, "--max-seconds",
             f"up to {MAX_SECONDS:g}", limits.max_seconds)  # fmt: skip
    _require(limits.timeout_s > 0, "--timeout", "more than 0 s", limits.timeout_s)
    _require(
        1 <= limits.max_inflight <= 60_000, "--max-inflight", "1 to 60000", limits.max_inflight
    )
    _require(1 <= sender.processes <= 256, "--processes", "1 to 256", sender.processes)
    _require(sender.connections >= 1, "--connections", "at least 1", sender.connections)
    _require(0 <= sender.abandon <= 1, "--abandon", "a share from 0 to 1", sender.abandon)
    _require(load.closed >= 0, "--concurrency", "at least 1", load.closed)
    _require(load.warmup_s >= 0, "--warmup", "0 s or more", load.warmup_s)
    _require(load.measured_s > 0, "--duration", "more than 0 s", load.measured_s)
    _require(
        load.measured_s + load.warmup_s <= limits.max_seconds,
        "--duration",
        f"at most {limits.max_seconds:g} s with warm-up (raise it with --max-seconds)",
        f"{load.measured_s + load.warmup_s:g} s",
    )
    _require(
        all(rate >= 0 for _, rate in load.knots) and bool(load.closed or expected(load) > 0),
        "--rate",
        "more than 0 requests/s",
        [rate for _, rate in load.knots],
    )
    planned = expected(load)
    _require(
        bool(load.closed) or planned <= limits.max_requests,
        "--rate",
        f"at most {limits.max_requests} requests in all (raise it with --max-requests)",
        f"{planned:.0f}",
    )


def expected(load: Load) -> float:
    """Requests that an open schedule holds on average, warm-up included."""
    if load.trace:
        return float(len(load.trace))
    area = sum(
        (t1 - t0) * (r0 + r1) / 2
        for (t0, r0), (t1, r1) in zip(load.knots, load.knots[1:], strict=False)
    )
    return area + load.warmup_s * load.knots[0][1]


def _require(holds: bool, at: str, wanted: str, got: object) -> None:
    if not holds:
        raise LoadTestError(f"expected {wanted}, got {got}", at=at)
