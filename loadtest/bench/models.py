"""``interlock bench models``: exported models beside scikit-learn and plain ONNX Runtime.

Every figure is the best of several rounds in this process on one thread, so that a busy machine
disturbs it least; compare figures of one run only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from loadtest.bench.lines import keep

SECTIONS = ("one-row", "many", "batch", "routing", "swaps", "explain")


class Line(Struct, frozen=True):
    """One figure.

    Attributes:
        section: part of the benchmark.
        what: what was measured.
        value: the figure.
        unit: ``us``, ``rows/s``, ``x``, ...
        limit: what it should stay within, in words; empty when there is no such limit.
    """

    section: str
    what: str
    value: float
    unit: str
    limit: str = ""


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Some sections only.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the routing section.")
@click.option("--swaps", default=100, show_default=True, help="Swaps under load.")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
@click.pass_context
def models(
    ctx: click.Context, *, only: tuple[str, ...], rows: int, swaps: int, as_json: bool
) -> None:
    """One-row and batch scoring of exported models, beside scikit-learn and plain ONNX Runtime."""
    from loadtest.bench import model_bulk, model_parts, model_swaps

    data = Path(ctx.obj["credit_data"])
    parts: dict[str, Callable[[Path], list[Line]]] = {
        "one-row": lambda folder: model_parts.one_row(data, folder),
        "many": lambda folder: model_parts.many_loaded(data, folder),
        "batch": model_bulk.batches,
        "routing": lambda folder: model_bulk.mixed_routing(folder, rows),
        "swaps": lambda folder: model_swaps.swaps(data, folder / "swaps", swaps),
        "explain": lambda folder: model_parts.explanations(data, folder),
    }
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name:
        for section in only or SECTIONS:
            if not as_json:
                click.echo(f"{section} ...", err=True)
            found = parts[section](Path(name))
            lines.extend(found)
            if not as_json:
                show(found)
    keep(ctx, lines)
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())


def show(lines: list[Line]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=lines[0].section if lines else "")
    for heading in ("what", "figure", "unit", "limit"):
        table.add_column(heading, justify="right" if heading == "figure" else "left")
    for line in lines:
        table.add_row(line.what, f"{line.value:,.4g}", line.unit, line.limit)
    Console().print(table)


def best_us(call: Callable[[], Any], *, calls: int = 2000, rounds: int = 7) -> float:
    """Best mean of a round, in microseconds a call."""
    import time

    call()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter_ns() - start) / calls / 1000)
    return best


def side_by_side(*calls_of: Callable[[], Any], calls: int, rounds: int = 15) -> list[float]:
    """Best mean of each, microseconds a call, measured in turns so that noise hits all alike."""
    best = [float("inf")] * len(calls_of)
    for _ in range(rounds):
        for place, call in enumerate(calls_of):
            best[place] = min(best[place], best_us(call, calls=calls, rounds=1))
    return best
