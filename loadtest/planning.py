"""Commands on results: ``plan`` and ``report``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest.errors import LoadTestError
from loadtest.plan import parse_target
from loadtest.stack import find_demo_key, find_home, find_url

if TYPE_CHECKING:
    from loadtest.capacity import Demand
    from loadtest.mix import RouteMix
    from loadtest.routesaving import Source
    from loadtest.serverside import ServerSide
    from loadtest.summary import Summary

_PATH = click.Path(path_type=Path)
Database = Callable[[str | None], str | None]
"""URL of the evidence of a home's stack, or None; the command line that holds these knows it."""


@click.command()
@click.option("--rate", type=float, required=True, help="Requests per second on average.")
@click.option("--knee", "knees", type=_PATH, multiple=True,
              help="knee.json or a folder of them: repeated searches for an interval.")  # fmt: skip
@click.option("--by-route", is_flag=True, help="What routing saves against the heaviest model.")
@click.option("--run", "run_path", type=_PATH,
              help="A run near the knee, whose counters tell what models cost.")  # fmt: skip
@click.option("--records", type=_PATH,
              help="Exported audit records (NDJSON) for the route mix.")  # fmt: skip
@click.option("--home", help="Stack whose evidence gives the route mix.")
@click.option("--endpoint", help="Of the route mix; needed when the evidence holds several.")
@click.option("--release", type=int, help="Only requests that this release decided.")
@click.option("--since", default="7d", show_default=True,
              help="First time of the route mix: 12h, 7d (ago) or ISO 8601, UTC.")  # fmt: skip
@click.option("--until", help="End of it, exclusive. Default: now.")
@click.option("--key-id", help="Only requests of this routing key.")
@click.option("--url", help="Data plane whose counters tell what models cost, without --run.")
@click.option("--key", envvar="INTERLOCK_KEY", help="Routing key that may read /metrics.")
@click.option("--burst", type=float, default=1.5, show_default=True, help="Peak over average.")
@click.option("--headroom", type=float, default=0.7, show_default=True,
              help="Share of a node's knee to use.")  # fmt: skip
@click.option("--redundancy", type=click.IntRange(0), default=1, show_default=True)
@click.option("--nodes-measured", type=click.IntRange(1), default=1, show_default=True)
@click.option("--node-price", type=float, default=0.10, show_default=True, help="Per node-hour.")
@click.option("--currency", default="", help="Of that price, such as EUR; a word for the tables.")
@click.option("--spool-gib", type=click.FloatRange(min=0.001), default=16.0, show_default=True,
              help="Room for audit segments on a node.")  # fmt: skip
@click.option("--record-bytes", type=click.IntRange(1), default=900, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the plan as JSON, markdown and picture.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def plan(database: Database | None, /, **flags: Any) -> None:
    """How many nodes a demand needs and what they cost, from measured knees.

    With --by-route: what routing saves against everything on the heaviest model, in processor time
    and money, from the route mix of the evidence and each model's measured cost.
    """
    from loadtest.capacity import Demand, plan_capacity
    from loadtest.results import read_knees
    from loadtest.show_planning import show_capacity
    from loadtest.store import write_capacity

    demand = Demand(
        rate=flags["rate"], burst=flags["burst"], headroom=flags["headroom"],
        redundancy=flags["redundancy"], node_price=flags["node_price"],
        record_bytes=flags["record_bytes"], spool_bytes=int(flags["spool_gib"] * 2**30),
        currency=flags["currency"],
    )  # fmt: skip
    if flags["by_route"]:
        _by_route(demand, flags, database)
        return
    knees = [knee for path in flags["knees"] for knee in read_knees(path)]
    capacity = plan_capacity(demand, knees, flags["nodes_measured"])
    if flags["out"] is not None:
        write_capacity(capacity, flags["out"])
    if flags["as_json"]:
        _print_json(capacity)
    else:
        show_capacity(capacity)


def _by_route(demand: Demand, flags: dict[str, Any], database: Database | None) -> None:
    from loadtest.results import read_summary
    from loadtest.routesaving import costs_of, plan_by_route
    from loadtest.serverside import since_start
    from loadtest.show_planning import show_saving
    from loadtest.store import write_saving

    server: ServerSide | None = None
    source: Source = "run"
    if flags["run_path"] is not None:
        server = read_summary(flags["run_path"]).server
        if server is None:
            raise LoadTestError(
                "the run holds no counters of the router", at=str(flags["run_path"]),
                hint="the target has to show /metrics to the key of the run",
            )  # fmt: skip
    mix, package_us = _mix(flags, server, database)
    if server is None:
        source, home = "router", find_home(flags["home"])
        key = flags["key"] or find_demo_key(home)
        server = since_start(parse_target(flags["url"] or find_url(home)), key, mix.endpoint)
    saving = plan_by_route(demand, mix, costs_of(server, source, package_us, set(mix.models)))
    if flags["out"] is not None:
        write_saving(saving, flags["out"])
    if flags["as_json"]:
        _print_json(saving)
    else:
        show_saving(saving)


def _mix(
    flags: dict[str, Any], server: ServerSide | None, database: Database | None
) -> tuple[RouteMix, dict[str, float]]:
    """The route mix and what packages cost: an export, else the evidence, else the run itself."""
    import asyncio

    from loadtest.mix import Asked, mix_of_records, mix_of_run, parse_time, read_audit

    if flags["records"]:
        return mix_of_records(flags["records"]), {}
    now = datetime.now(UTC)
    asked = Asked(
        parse_time(flags["since"], now),
        parse_time(flags["until"], now) if flags["until"] else now,
        flags["endpoint"],
        flags["release"],
        flags["key_id"],
    )
    url = database(flags["home"]) if database else None
    if url is None:
        why = "there is no stack in the home, and no DATABASE_URL"
    else:
        try:
            return asyncio.run(read_audit(url, asked))
        except LoadTestError as error:
            if server is None:
                raise
            why = error.message
    if server is None:
        raise LoadTestError(
            f"no route mix: {why}", at="--by-route",
            hint="name the stack's --home, or give --records FILE or --run DIR",
        )  # fmt: skip
    return mix_of_run(server, why), {}


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--markdown", is_flag=True, help="Print the summary for a pull request.")
def report(folder: Path, markdown: bool) -> None:
    """Write report.html of what --out left: a run, a knee, a comparison, plans.

    Of a run also report.md, latency.hgrm and latency.hlog.
    """
    from loadtest import results
    from loadtest.html import page
    from loadtest.report import hgrm_report, markdown_report, write_hlog
    from loadtest.show import show
    from loadtest.summary import corrected_us

    known: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "summary": ("summary.json", results.read_summary),
        "knee": ("knee.json", results.read_knee),
        "comparison": ("compare.json", results.read_comparison),
        "capacity": ("plan.json", results.read_capacity),
        "saving": ("saving.json", results.read_saving),
    }
    found = {part: read(folder) for part, (name, read) in known.items() if (folder / name).exists()}
    if not found:
        raise LoadTestError(
            f"expected one of {', '.join(name for name, _ in known.values())} in it, got none",
            at=str(folder), hint="give the folder of --out",
        )  # fmt: skip
    (folder / "report.html").write_text(page(**found), encoding="utf-8")
    summary: Summary | None = found.get("summary")
    if summary is not None:
        (folder / "report.md").write_text(markdown_report(summary), encoding="utf-8")
        if (folder / "records.npz").exists():
            records, begin = results.read_records(folder, summary)
            text = hgrm_report(corrected_us(records))
            (folder / "latency.hgrm").write_text(text, encoding="utf-8")
            write_hlog(records, begin, folder / "latency.hlog")
        if markdown:
            click.echo(markdown_report(summary))
            return
        show(summary)
    click.echo(f"written: {folder / 'report.html'}")


def _print_json(document: Any) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
