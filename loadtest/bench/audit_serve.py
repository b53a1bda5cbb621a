"""What the evidence costs a whole request: a router with and without its audit, and ``strict``.

Both routers answer the same requests on the same core in turn, so that what else the machine does
meets both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from loadtest.bench.credit import ENDPOINT, Node, build_node
from loadtest.bench.measure import Requests, check_server, make_plan, saturate
from loadtest.bench.node import Server, router
from loadtest.plan import Load
from loadtest.processes import execute, share_cores
from loadtest.schedule import constant
from loadtest.summary import summarise
from router.release.spec import Policies

WITHOUT = Path(__file__).parent / "without_audit"
CONNECTIONS = 32
STRICT_PER_S = 5000.0
SECONDS = 2.0
WARM_S = 1.0
SWEEP_S = 0.2
KEEP = 2
"""Segments that a worker may still write."""


class Serving(Struct, frozen=True):
    """A router with its audit beside one without.

    Attributes:
        on_per_s: requests a second with everything on.
        off_per_s: the same without records.
        on_us: processor time of a request, microseconds.
        off_us: the same without records.
        share: throughput with the audit as a share of that without, per second of processor time.
    """

    on_per_s: float
    off_per_s: float
    on_us: float
    off_us: float
    share: float


class StrictServing(Struct, frozen=True):
    """Corrected latency over HTTP at ``per_s`` requests a second, milliseconds."""

    per_s: float
    process_p50_ms: float
    strict_p50_ms: float
    strict_p99_ms: float
    added_p50_ms: float
    errors: int


def measure_serving(
    data: Path, folder: Path, runs: int, tell: Callable[[str], None]
) -> tuple[Serving, StrictServing]:
    """Start the routers, measure them in turn, end them."""
    cores = share_cores()
    plain = build_node(data, folder / "on", progress=tell)
    shutil.copytree(folder / "on", folder / "off")
    bare = msgspec.structs.replace(plain, folder=folder / "off")
    strict = build_node(data, folder / "strict", policies=Policies(durability="strict"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(shipped_away(folder))
        on = stack.enter_context(router(plain, cores[0], name="on"))
        with without_records():
            off = stack.enter_context(router(bare, cores[0], name="off"))
        asked = _requests(plain)
        for server in (on, off):
            check_server(server, asked)
            saturate(server, asked, client="own", seconds=WARM_S, cpu=cores[-1],
                     connections=CONNECTIONS)  # fmt: skip
        pairs = []
        for number in range(runs):
            found = [
                saturate(server, asked, client="own", seconds=SECONDS, cpu=cores[-1],
                         connections=CONNECTIONS)
                for server in (on, off)
            ]  # fmt: skip
            pairs.append(found)
            tell(
                f"serving {number + 1}/{runs}: {found[0].cpu_us:.1f} us with audit, "
                f"{found[1].cpu_us:.1f} us without"
            )
        process = _latency(on, asked, cores[-1])
    with shipped_away(folder), router(strict, cores[0], name="strict") as held:
        asked = _requests(strict)
        check_server(held, asked)
        _latency(held, asked, cores[-1])
        slow = _latency(held, asked, cores[-1])
    return (
        Serving(
            median(pair[0].requests_per_s for pair in pairs),
            median(pair[1].requests_per_s for pair in pairs),
            median(pair[0].cpu_us for pair in pairs),
            median(pair[1].cpu_us for pair in pairs),
            median(pair[1].cpu_us / pair[0].cpu_us for pair in pairs),
        ),
        StrictServing(STRICT_PER_S, process[0], slow[0], slow[1], slow[0] - process[0], slow[2]),
    )


@contextlib.contextmanager
def shipped_away(folder: Path) -> Iterator[None]:
    """Delete full segments meanwhile, as a shipper does.

    Without it every record goes to memory that the machine has never used, which costs more than
    the record itself.
    """
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(SWEEP_S):
            for place in folder.glob("*/spool/*"):
                for path in sorted(place.glob("*.seg"))[:-KEEP]:
                    path.unlink(missing_ok=True)

    thread = threading.Thread(target=sweep, name="sweep")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def without_records() -> Iterator[None]:
    """Processes started meanwhile keep no records."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(WITHOUT), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _requests(node: Node) -> Requests:
    return Requests(
        f"/v1/predict/{ENDPOINT}", node.bodies, (("Authorization", f"Bearer {node.key}"),)
    )


def _latency(server: Server, asked: Requests, cpu: int) -> tuple[float, float, int]:
    """p50 and p99 in milliseconds, and errors, of an open loop."""
    load = Load(constant(STRICT_PER_S, SECONDS), warmup_s=0.5)
    plan = make_plan(server, asked, load, cpu, CONNECTIONS)
    figures = summarise(plan, execute(plan)).figures
    by = {each.percentile: each.corrected for each in figures.percentiles}
    errors = figures.requests - figures.outcomes.get("good", 0)
    return (by[0.5] or 0.0) / 1000, (by[0.99] or 0.0) / 1000, errors
