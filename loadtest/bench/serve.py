"""``interlock bench serve``: what one request costs one router worker on one core."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import Struct

from loadtest.bench.measure import Requests, Result, Sample

if TYPE_CHECKING:
    from loadtest.bench.batches import Batches
    from loadtest.bench.credit import Node
    from loadtest.bench.node import Server
    from loadtest.bench.overload import Overload
    from loadtest.bench.soak import Soak
    from loadtest.environment import Environment

OURS, V2_JSON, V2_BINARY = "interlock", "interlock V2", "interlock V2 bin"
CPU_BUDGETS_US = {OURS: 35.0, V2_JSON: 45.0, V2_BINARY: 35.0}
"""Limits of CPU per request by what is spoken."""
RATE_FLOOR = 25_000.0
FITTED_THERE = {"FastAPI + scikit-learn"}
"""Peers without the exported model: their last digits differ."""
SECTIONS = ("load", "batches", "overload")
SOAK = "soak"


class ServeReport(Struct, frozen=True):
    """What the benchmark found.

    Attributes:
        results: one per server, the router first.
        samples: every run, in the order in which they were made.
        client: ``own`` or ``wrk``.
        connections: keep-alive connections while saturated.
        one_core: server and client had to share a core, so the figures are of little use.
        overload: good answers beyond the knee.
        soak: memory under steady load.
        batches: what a row of a thousand costs.
    """

    results: tuple[Result, ...]
    samples: tuple[Sample, ...]
    client: str
    connections: int
    seconds: float
    one_core: bool
    environment: Environment
    overload: Overload | None = None
    soak: Soak | None = None
    batches: Batches | None = None
    format: str = "interlock/bench-serve/v2"


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="German credit CSV.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=3.0, show_default=True,
              help="Per measurement.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 4096), default=32, show_default=True)
@click.option("--client", type=click.Choice(["own", "wrk"]), default="own", show_default=True)
@click.option(
    "--only", type=click.Choice([*SECTIONS, SOAK]), multiple=True, help="Leave out the rest."
)
@click.option("--soak", "soak_s", type=click.FloatRange(30, 86400), metavar="SECONDS",
              help="Also watch the memory under steady load for this long.")  # fmt: skip
@click.option("--peers", is_flag=True, help="Also measure the peers that are installed.")
@click.option("--peer-env", "peer_envs", multiple=True, metavar="NAME=PYTHON",
              help="Interpreter of a peer that cannot be installed beside us: mlserver, bentoml, "
                   "litserve, rayserve, triton. Implies --peers.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def serve(
    ctx: click.Context, *, data: Path | None, runs: int, seconds: float, connections: int,
    client: str, only: tuple[str, ...], soak_s: float | None, peers: bool,
    peer_envs: tuple[str, ...], plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Saturate one router worker with the lending endpoint and say what a request costs.

    Three models behind a nested rule table, a decision table, validation, keys and audit, all on;
    no database, no Redis. Server on the first core, client on the last.
    """
    chosen = data or (ctx.obj or {}).get("credit_data")
    if chosen is None:
        raise click.UsageError("give the German credit data with --data")

    def tell(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    from loadtest.bench.peers.outside import read_peer_envs

    envs = read_peer_envs(peer_envs)
    report = measure(
        chosen, runs=runs, seconds=seconds, connections=connections, client=client,
        peers=envs if peers or envs else None, only=only or SECTIONS, soak_s=soak_s, tell=tell,
    )  # fmt: skip
    if plot is not None and report.results:
        from loadtest.bench.plots import plot_serve

        plot_serve(report, plot)
        tell(f"plot: {plot}")
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        show(report)


def measure(
    data: Path, *, runs: int, seconds: float, connections: int, client: str,
    peers: dict[str, Path] | None, only: tuple[str, ...], soak_s: float | None, tell: Any,
) -> ServeReport:  # fmt: skip
    """Start the servers, measure them in turn, end them."""
    from loadtest.bench.credit import ENDPOINT, build_node
    from loadtest.bench.measure import check_server, combine, half_load, saturate, v2_requests
    from loadtest.bench.node import Server, router
    from loadtest.environment import read_environment
    from loadtest.plan import Load, Plan
    from loadtest.processes import share_cores
    from loadtest.schedule import constant
    from router.release.spec import Policies

    cores = share_cores()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interlock-bench-")))
        kept = Policies(stream_evidence="parts")  # of requests with many rows; one has a record
        node = build_node(data, folder, policies=kept, progress=tell)
        tell("starting one router worker")
        field: list[tuple[Server, Requests]] = []
        ours = stack.enter_context(router(node, cores[0]))
        bearer = (("Authorization", f"Bearer {node.key}"),)
        field.append((ours, Requests(f"/v1/predict/{ENDPOINT}", node.bodies, bearer)))
        for name, binary in ((V2_JSON, False), (V2_BINARY, True)):
            same = Server(name, ours.target, ours.pid)
            field.append((same, v2_requests(node, bearer, binary=binary)))
        if peers is not None:
            from loadtest.bench.peers.outside import check_same, start_outside
            from loadtest.bench.peers.serving import start_peers

            others = start_peers(stack, node, data, cores[0], tell)
            others += start_outside(stack, node, peers, cores[0], tell)
            for other in others:
                if other[0].name not in FITTED_THERE:
                    check_same(field[0], other)
            field += others
        if "load" not in only:
            field.clear()
        for server, requests in field:
            check_server(server, requests)
            saturate(server, requests, client="own", seconds=1.0, cpu=cores[-1],
                     connections=connections)  # fmt: skip
        samples: list[Sample] = []
        for number in range(runs):
            for server, requests in field:
                sample = saturate(
                    server, requests, client=client, seconds=seconds, cpu=cores[-1],
                    connections=connections,
                )  # fmt: skip
                sample = half_load(server, requests, sample, seconds=seconds, cpu=cores[-1],
                                   connections=connections)  # fmt: skip
                samples.append(sample)
                tell(
                    f"run {number + 1}/{runs} {server.name:12} {sample.requests_per_s:9,.0f}/s  "
                    f"{sample.cpu_us:7.1f} us CPU per request"
                )
        results = tuple(
            combine([s for s in samples if s.server == server.name], server.rss_anon_mb())
            for server, _ in field
        )
        many, beyond, watched = _extra(ours, node, only, soak_s, runs, seconds, cores[-1], tell)
        environment = read_environment(Plan((), (), Load(constant(1, 1))))
    return ServeReport(
        results, tuple(samples), client, connections, seconds, len(cores) < 2, environment,
        beyond, watched, many,
    )  # fmt: skip


def _extra(  # noqa: PLR0917 - one call, just above
    server: Server, node: Node, only: tuple[str, ...], soak_s: float | None, runs: int,
    seconds: float, cpu: int, tell: Any,
) -> tuple[Batches | None, Overload | None, Soak | None]:  # fmt: skip
    """Many rows at once, more load than can be answered, and the same load for long."""
    from loadtest.bench.batches import batches
    from loadtest.bench.credit import ENDPOINT
    from loadtest.bench.overload import many_rows, overload
    from loadtest.bench.soak import soak

    many, beyond, watched = None, None, None
    if "batches" in only:
        tell("sending a thousand rows at once")
        many = batches(server, node, runs=runs, seconds=seconds, cpu=cpu, tell=tell)
    if "overload" in only:
        tell("offering more than can be answered")
        beyond = overload(
            server, many_rows(node), cpu=cpu, runs=min(runs, 3), seconds=seconds, tell=tell
        )
    if soak_s is not None:
        tell(f"steady load for {soak_s:g} s")
        bearer = (("Authorization", f"Bearer {node.key}"),)
        online = Requests(f"/v1/predict/{ENDPOINT}", node.bodies, bearer)
        watched = soak(server, online, seconds=soak_s, cpu=cpu, tell=tell)
    return many, beyond, watched


def show(report: ServeReport) -> None:
    """The result as tables."""
    if report.results:
        show_load(report)
    if report.batches is not None:
        from loadtest.bench.batches import show_batches

        show_batches(report.batches)
    if report.overload is not None:
        from loadtest.bench.overload import show_overload

        show_overload(report.overload)
    if report.soak is not None:
        from loadtest.bench.soak import show_soak

        show_soak(report.soak)


def show_load(report: ServeReport) -> None:
    """What a request costs, as a table."""
    from rich.table import Table

    from loadtest.show import show_time, wide_console

    console = wide_console()
    table = Table(
        title="one server process on one core, lending endpoint, JSON in and out", box=None
    )
    for name in ("server", "requests/s", "us CPU", "range", "p50 half",
                 "p99 half", "errors", "core", "RssAnon"):  # fmt: skip
        table.add_column(name, justify="left" if name == "server" else "right")
    for result in report.results:
        table.add_row(
            result.server,
            f"{result.requests_per_s:,.0f}",
            f"{result.cpu_us:.1f}",
            f"{result.cpu_us_low:.1f}-{result.cpu_us_high:.1f}",
            show_time(result.p50_us),
            show_time(result.p99_us),
            str(result.errors),
            f"{result.core_share:.0%}",
            f"{result.rss_anon_mb:.0f} MiB",
        )
    console.print(table)
    ours = report.results[0]
    for peer in report.results:
        if peer.server not in CPU_BUDGETS_US:
            console.print(f"{peer.server} costs {peer.cpu_us / ours.cpu_us:.1f} times the CPU")
    if ours.core_share < 0.9:
        console.print(
            f"the server had only {ours.core_share:.0%} of its core (other work on this machine, "
            f"or a client that was too slow): alone it would reach about {1e6 / ours.cpu_us:,.0f}/s"
        )
    console.print(
        f"us CPU: user and system time of the server's processes per request while saturated; "
        f"half: corrected latency of an open loop at half the saturated rate\n"
        f"medians over {ours.runs} interleaved runs of {report.seconds:g} s, "
        f"client {report.client}, {report.connections} connections; {report.environment.cpu}, "
        f"{report.environment.cores} cores"
    )
    for result in report.results:
        limit = CPU_BUDGETS_US.get(result.server)
        if limit is not None:
            held = "held" if result.cpu_us <= limit else "NOT held"
            console.print(f"{result.server}: {limit:g} us CPU per request {held}")
    reached = "reached" if ours.requests_per_s >= RATE_FLOOR else "not reached"
    if ours.requests_per_s < RATE_FLOOR <= 1e6 / ours.cpu_us and ours.core_share < 0.9:
        reached = "not reached for want of the core"
    console.print(f"{ours.server}: {RATE_FLOOR:,.0f} requests/s per core {reached}")
    if report.one_core:
        console.print("server and client shared the only core: these figures are not comparable")
