"""The command ``compare``: stored runs or knees of two sides, or two live targets in turn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest.flags import build_plan, parse_seconds, target_options
from loadtest.stack import find_home, find_services, find_url

if TYPE_CHECKING:
    from loadtest.compare import Comparison
    from loadtest.summary import Summary

_PATH = click.Path(path_type=Path)


@click.command()
@target_options
@click.argument("results", nargs=-1, type=_PATH)
@click.option("--against", help="URL of the candidate: run both sides in turn (A B B A ...).")
@click.option("--against-key", help="Its routing key, when it differs.")
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Per side, with --against.")  # fmt: skip
@click.option("--rate", type=float, default=100.0, show_default=True)
@click.option("--duration", default="10s", callback=parse_seconds, show_default=True)
@click.option("--warmup", default="2s", callback=parse_seconds, show_default=True)
@click.option("--margin", type=click.FloatRange(0.001, 1), default=0.03, show_default=True,
              help="Ratios within it count as equal.")  # fmt: skip
@click.option("--only", multiple=True,
              help="Judge only figures whose name holds this word, such as CPU.")  # fmt: skip
@click.option("--paired", is_flag=True,
              help="The k-th runs of both folders were made one after the other.")  # fmt: skip
@click.option("--force", is_flag=True, help="Compare although machines or plans differ.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for compare.json, .md, .png, and live runs in a/ and b/.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
def compare(**flags: Any) -> None:
    """Is the second side better, worse or equal? Two folders of runs or knees, or two live targets.

    Exit status: 0 better or equivalent, 4 worse, 5 inconclusive.
    """
    import msgspec

    from loadtest.show_compare import show_comparison
    from loadtest.store import write_comparison

    if flags["against"]:
        found = _live(flags)
    elif len(flags["results"]) == 2:
        found = _stored(flags)
    else:
        raise click.UsageError("give two folders of runs or knees, or --against URL")
    if flags["out"] is not None:
        write_comparison(found, flags["out"])
    if flags["as_json"]:
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    else:
        show_comparison(found)
    sys.exit({"worse": 4, "inconclusive": 5}.get(found.verdict, 0))


def _rules(flags: dict[str, Any], *, paired: bool) -> dict[str, Any]:
    return {
        "margin": flags["margin"], "force": flags["force"], "only": flags["only"], "paired": paired,
    }  # fmt: skip


def _stored(flags: dict[str, Any]) -> Comparison:
    """Knees where both folders hold them, else runs."""
    from loadtest.compare import compare_knees, compare_runs
    from loadtest.results import read_knees, read_summaries

    a, b = flags["results"]
    rules = _rules(flags, paired=flags["paired"])
    knees = [read_knees(path) for path in (a, b)]
    if all(knees):
        return compare_knees(knees[0], knees[1], **rules)
    return compare_runs(read_summaries(a), read_summaries(b), **rules)


def _live(flags: dict[str, Any]) -> Comparison:
    """Runs of both targets in the order A B B A A B ..., so that drift hits both alike."""
    from loadtest.compare import compare_runs
    from loadtest.plan import Load
    from loadtest.run import run
    from loadtest.schedule import constant
    from loadtest.store import write_run

    sides: dict[str, list[Summary]] = {"a": [], "b": []}
    home = find_home(flags["home"])
    given = {
        "a": {"urls": flags["urls"] or (find_url(home),)},
        "b": {"urls": (flags["against"],), "key": flags["against_key"] or flags["key"]},
    }
    order = [side for k in range(flags["runs"]) for side in ("ab" if k % 2 == 0 else "ba")]
    for number, side in enumerate(order, 1):
        load = Load(constant(flags["rate"], flags["duration"]), warmup_s=flags["warmup"],
                    seed=(number + 1) // 2)  # fmt: skip
        made = build_plan(load, (), {**flags, **given[side]})
        click.echo(f"run {number} of {len(order)}: {side} {given[side]['urls'][0]}", err=True)
        outcome = run(made, services=find_services(home))
        if outcome.summary.interrupted:
            sys.exit(130)
        sides[side].append(outcome.summary)
        if flags["out"] is not None:
            write_run(outcome, flags["out"] / side / f"{len(sides[side]):03d}")
    return compare_runs(sides["a"], sides["b"], **_rules(flags, paired=True))
