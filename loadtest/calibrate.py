"""The generator's own ceiling, measured against the null server, and where it is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loadtest.environment import read_environment
from loadtest.plan import Limits, Load, Plan, Sender, Target, Template
from loadtest.processes import execute, null_server, share_cores
from loadtest.requests import build_request
from loadtest.schedule import constant
from loadtest.summary import Summary, summarise

if TYPE_CHECKING:
    from pathlib import Path

BODY_BYTES = 1024
LAG_RATE = 5000.0


class Calibration(Struct, frozen=True):
    """What this generator can do on this machine.

    Attributes:
        ceiling: requests per second of one process in a closed loop, 1 KB bodies, keep-alive.
        open_rate: requests per second sent in an open loop at 20,000 due.
        lag_p50_us, lag_p99_us: send lag in an open loop of 5,000 requests per second.
        floor_p50_us: corrected median latency of the null server: below it nothing can be seen.
        cpu, kernel: of the machine it holds for.
    """

    ceiling: float
    open_rate: float
    lag_p50_us: float
    lag_p99_us: float
    floor_p50_us: float
    cpu: str
    kernel: str


def calibrate(seconds: float = 3.0) -> Calibration:
    """Measure one generator process on the last core against a null server on the first."""
    cores = share_cores()
    with null_server(cpu=cores[0]) as (port, _):
        closed = _measure(port, Load(constant(0, seconds), closed=32), cores[-1])
        steady = _measure(port, Load(constant(LAG_RATE, seconds), warmup_s=0.5), cores[-1])
        fast = _measure(port, Load(constant(20_000.0, seconds), warmup_s=0.5), cores[-1])
    return Calibration(
        ceiling=closed.figures.good_rate,
        open_rate=fast.figures.good_rate,
        lag_p50_us=steady.figures.lag_p50_us,
        lag_p99_us=steady.figures.lag_p99_us,
        floor_p50_us=steady.figures.percentiles[0].corrected or 0.0,
        cpu=steady.environment.cpu,
        kernel=steady.environment.kernel,
    )


def _measure(port: int, load: Load, cpu: int) -> Summary:
    target = Target("127.0.0.1", port)
    data = build_request(target, "/", b"x" * BODY_BYTES, content_type="text/plain")
    plan = Plan((target,), (Template(data),), load, limits=Limits(), sender=Sender(cpus=(cpu,)))
    return summarise(plan, execute(plan))


def save(calibration: Calibration, path: Path) -> None:
    """Remember a calibration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(calibration))


def load_ceiling(path: Path, plan: Plan) -> float | None:
    """Ceiling of all the plan's processes, or None when none was measured on this machine."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError):
        return None
    here = read_environment(plan)
    if (known.cpu, known.kernel) != (here.cpu, here.kernel):
        return None
    return known.ceiling * plan.sender.processes
