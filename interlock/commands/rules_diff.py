"""``interlock rules diff``: what an edit of a rule table changes, proved or shown by examples."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from compiler.rules.compiled import CompiledRules
from compiler.rules.diff.replay import Replay, Rows, replay
from compiler.rules.diff.report import DiffError, diff_tables
from compiler.schema import FeatureMap
from interlock.show_diff import show_table_diff, worded

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("diff")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option("--traffic", type=_FILE, help="Requests to route by both: NDJSON, CSV or Parquet.")
@click.option(
    "--schema",
    type=_FILE,
    help='JSON: {"amount": {"type": "float"}, ...} or {"features": ..., "output": ...}.',
)
@click.option(
    "--kind",
    type=click.Choice(["routing", "decision"]),
    default="routing",
    help="What tables in text form are for; the JSON form says it itself.",
)
@click.option("--now", help="RFC 3339 time that rules see as now; the present without it.")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def diff(
    *, old: Path, new: Path, traffic: Path | None, schema: Path | None, kind: str,
    now: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare what two tables mean: regions of requests whose outcome is another.

    Ids, descriptions, and the order of rules with one outcome make no difference. Each region has
    an example that can be given to `interlock rules explain`.

    Exit status: 0 same meaning, 1 they differ or it is not proven, 2 not a rule table.

    Example: interlock rules diff live.txt draft.txt --schema schema.json --traffic rows.ndjson
    """
    from interlock.commands.rules import load, now_micros

    before, after = load(old, schema, kind), load(new, schema, kind)
    now_us = now_micros(now)
    found = None
    refusal = ""
    try:
        found = diff_tables(before, after, now_us)
    except DiffError as error:
        if traffic is None or before.table.kind != after.table.kind:
            raise
        refusal = error.message
    routed = None
    started = time.perf_counter()
    if traffic is not None:
        routed = replay(before, after, _rows(traffic, before, after), now_us)
    elapsed = time.perf_counter() - started
    if as_json:
        click.echo(msgspec.json.encode({"diff": found, "refused": refusal, "traffic": routed}))
    else:
        if found is None:
            click.echo(f"not compared: {refusal}")
        else:
            show_table_diff(found)
        if routed is not None:
            _show_traffic(routed, elapsed)
    same = found is not None and found.verdict == "same"
    sys.exit(0 if same and not (routed and routed.changed) else 1)


def _rows(path: Path, old: CompiledRules, new: CompiledRules) -> Iterator[Rows]:
    """Rows of a file by columns, in parts that fit into memory."""
    from interlock.commands.rules import batches, read_rows

    scope: FeatureMap = {**old.scope, **new.scope}
    if path.suffix in {".csv", ".parquet", ".pq"}:
        from serving.tabular import read_batches

        for batch in read_batches(path, scope):
            columns = {name: batch.column(name) for name in batch.schema.names if name in scope}

            def row(place: int, batch: Any = batch) -> dict[str, Any]:
                found: dict[str, Any] = batch.slice(place, 1).to_pylist()[0]
                return found

            yield columns, batch.num_rows, row
        return
    for part in batches(read_rows(path, scope)):
        yield _columns(part, scope), len(part), part.__getitem__


def _columns(rows: list[dict[str, Any]], scope: FeatureMap) -> dict[str, Any]:
    import numpy as np

    columns = {}
    for name in scope:
        column = np.empty(len(rows), dtype=object)
        column[:] = [row.get(name) for row in rows]
        columns[name] = column
    return columns


def _show_traffic(found: Replay, elapsed_s: float) -> None:
    speed = found.rows / elapsed_s if elapsed_s else 0.0
    click.echo(
        f"traffic: {found.changed:,} of {found.rows:,} requests ({found.share:.2%}) have another "
        f"outcome; {speed:,.0f} rows/s"
    )
    if not found.moves:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("before", overflow="fold")
    table.add_column("after", overflow="fold")
    table.add_column("requests", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for move in found.moves:
        table.add_row(
            worded(move.before), worded(move.after), f"{move.rows:,}", f"{move.share:.2%}"
        )
    Console(highlight=False, markup=False).print(table)
    for each in found.examples:
        row = msgspec.json.encode(each.row).decode()
        click.echo(f"  {each.before.outcome} -> {each.after.outcome}  {row}")
