"""The server's own account of a run: counters of ``/metrics`` before and after, subtracted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtest.environment import listeners
from loadtest.errors import TargetError
from loadtest.preflight import exchange
from loadtest.proc import cpu_seconds
from loadtest.resources import Audit

if TYPE_CHECKING:
    from loadtest.plan import Target

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
Counters = dict[tuple[str, tuple[tuple[str, str], ...]], float]

_REQUESTS = "interlock_request_duration_seconds"
_INFER = "interlock_infer_duration_seconds_total"
_ROUTES = "interlock_route_decisions_total"
_RECORDS = "interlock_audit_records_total"
_STAGE = "interlock_stage_duration_seconds_total"
_SAMPLES = "interlock_stage_samples_total"
_BATCH_WAIT = "interlock_batch_wait_seconds_total"
_MODEL_CPU = "interlock_model_cpu_seconds_total"
_MODEL_CPU_SAMPLES = "interlock_model_cpu_samples_total"
STAGES = ("decode", "route", "infer", "decide", "encode", "audit")


class ServerSide(Struct, frozen=True):
    """What the router counted during a run; times are means in microseconds per request.

    Attributes:
        requests: answered requests.
        router_us: from the last byte read to the answer.
        infer_us: of that, in models.
        rest_us: of that, everything else: decode, route, audit, encode.
        models: rows per model.
        model_us: mean model time per row, by model.
        rules: rows per rule.
        audit_records: records kept.
        cpu_us: processor time of the server's processes per request, kernel included; None when
            they cannot be seen.
        busy: share of a core that the busiest of them used; None when they cannot be seen.
        model_cpu_us: mean processor time per row, by model, of the requests that the router timed.
        model_samples: how many those were.
        stages: mean time of each step, of the requests that the router timed.
        timed: how many those were.
        batch_wait_us: what rows of costly models waited for their batch, mean over all requests.
        queue_us: what clients waited beyond the steps: sockets, kernel, and the router's loop while
            it was at other requests; None without their side.
        audit: the evidence on its way to the database.
    """

    requests: int
    router_us: float
    infer_us: float
    rest_us: float
    models: dict[str, int]
    model_us: dict[str, float]
    rules: dict[str, int]
    audit_records: int
    cpu_us: float | None = None
    busy: float | None = None
    model_cpu_us: dict[str, float] = {}
    model_samples: dict[str, int] = {}
    stages: dict[str, float] = {}
    timed: int = 0
    batch_wait_us: float = 0.0
    queue_us: float | None = None
    audit: Audit | None = None

    @property
    def steps(self) -> tuple[tuple[str, float], ...]:
        """(step, mean microseconds) in the order of a request.

        Without the router's own timing only models and the rest are known.
        """
        queue = [("queue", self.queue_us)] if self.queue_us is not None else []
        if self.stages:
            return (*queue, *((name, self.stages[name]) for name in STAGES))
        wait = [("batch wait", self.batch_wait_us)] if self.batch_wait_us else []
        rest = max(self.rest_us - self.batch_wait_us, 0.0)
        return (*queue, *wait, ("infer", self.infer_us), ("rest", rest))


def parse_metrics(text: str) -> Counters:
    """Prometheus text as numbers by name and sorted labels; other lines are passed over."""
    found: Counters = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        labels = tuple(sorted(_LABEL.findall(match[2] or "")))
        try:
            found[match[1], labels] = float(match[3])
        except ValueError:
            continue
    return found


def read_metrics(target: Target, request: bytes) -> Counters | None:
    """Counters of a target, or None when it shows none to us."""
    try:
        answer = exchange(target, request, 2.0)
    except TargetError:
        return None
    if answer.status != 200:
        return None
    return parse_metrics(answer.body.decode("utf-8", "replace"))


class Reading(Struct, frozen=True):
    """Counters at one moment, and the processor seconds of processes that can be seen."""

    counters: Counters
    cpu_s: dict[int, float]


def read_server(target: Target, request: bytes) -> Reading | None:
    """A reading of a target, or None when it shows no counters to us."""
    counters = read_metrics(target, request)
    if counters is None:
        return None
    pids = listeners(target.port) if target.loopback else ()
    return Reading(counters, {pid: cpu_seconds(pid) for pid in pids})


def total(counters: Counters, name: str) -> float:
    """A metric summed over its labels."""
    return sum(value for (n, _), value in counters.items() if n == name)


def difference(
    before: Reading | None,
    after: Reading | None,
    *,
    busy: float | None = None,
    audit: Audit | None = None,
) -> ServerSide | None:
    """What happened between two readings; None when nothing was counted.

    Args:
        before: at the beginning.
        after: at the end.
        busy: share of a core that the router's busiest process used in between.
        audit: the evidence's way in between.
    """
    if before is None or after is None:
        return None
    grown = {key: value - before.counters.get(key, 0.0) for key, value in after.counters.items()}
    spent = [after.cpu_s[pid] - before.cpu_s.get(pid, 0.0) for pid in after.cpu_s]

    requests = total(grown, _REQUESTS + "_count")
    if requests <= 0:
        return None
    models = _by_label(grown, _ROUTES, "model")
    infer = _by_label(grown, _INFER, "model")
    router_us = total(grown, _REQUESTS + "_sum") / requests * 1e6
    infer_us = total(grown, _INFER) / requests * 1e6
    timed = total(grown, _SAMPLES)
    spans = _by_label(grown, _STAGE, "stage")
    worked = _by_label(grown, _MODEL_CPU, "model")
    taken = {n: int(v) for n, v in _by_label(grown, _MODEL_CPU_SAMPLES, "model").items() if v > 0}
    return ServerSide(
        requests=int(requests),
        router_us=router_us,
        infer_us=infer_us,
        rest_us=max(router_us - infer_us, 0.0),
        models={name: int(n) for name, n in models.items() if n > 0},
        model_us={
            name: seconds / models[name] * 1e6
            for name, seconds in infer.items()
            if models.get(name, 0) > 0
        },
        rules={name: int(n) for name, n in _by_label(grown, _ROUTES, "rule").items() if n > 0},
        audit_records=int(total(grown, _RECORDS)),
        cpu_us=sum(spent) / requests * 1e6 if spent else None,
        busy=busy,
        model_cpu_us={name: worked.get(name, 0.0) / n * 1e6 for name, n in taken.items()},
        model_samples=taken,
        stages={name: spans.get(name, 0.0) / timed * 1e6 for name in STAGES} if timed > 0 else {},
        timed=int(timed),
        batch_wait_us=total(grown, _BATCH_WAIT) / requests * 1e6,
        audit=audit,
    )


def since_start(target: Target, key: str, endpoint: str) -> ServerSide | None:
    """What the router counted for an endpoint since its start; None when it shows nothing."""
    from loadtest.requests import build_request

    headers = (("Authorization", f"Bearer {key}"),) if key else ()
    request = build_request(
        target, "/metrics", b"", headers=headers, method="GET", keep_alive=False
    )
    counters = read_metrics(target, request)
    if counters is None:
        return None
    kept = {
        (name, labels): value
        for (name, labels), value in counters.items()
        if not endpoint or dict(labels).get("endpoint") == endpoint
    }
    return difference(Reading({}, {}), Reading(kept, {}))


def _by_label(grown: Counters, name: str, label: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for (metric, labels), value in grown.items():
        if metric == name:
            word = dict(labels).get(label, "")
            sums[word] = sums.get(word, 0.0) + value
    return sums
