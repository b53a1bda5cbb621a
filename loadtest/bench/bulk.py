"""``interlock bench bulk``: files through an endpoint, beside bare ONNX Runtime and scikit-learn.

Every round runs each variant once, in turn, so that a busy machine meets them all; figures are
medians of rounds, ratios are medians of the ratios within one round.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from loadtest.bench.lines import keep
from loadtest.bench.models import Line, show

if TYPE_CHECKING:
    from loadtest.bench.bulk_parts import Bench
    from loadtest.bench.bulk_runs import Jobs, Variant

KINDS = ("parquet", "arrow", "ndjson", "csv")
FLOOR = ("parquet", "arrow")
SECTIONS = ("files", "overhead", "memory", "peer", "isolation")


@click.command()
@click.option("--rows", default=300_000, show_default=True, help="Rows of each file.")
@click.option("--rounds", default=3, show_default=True, help="Turns of every variant.")
@click.option("--workers", default=1, show_default=True, help="Scoring threads, of the loop too.")
@click.option("--batch-rows", default=16_384, show_default=True, help="Rows scored at once.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="Leave out the rest.")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
@click.pass_context
def bulk(
    ctx: click.Context, *, rows: int, rounds: int, workers: int, batch_rows: int,
    only: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Files of rows through three boosted models, with decisions and evidence.

    And what a job does to the online requests of a node that serves.
    """
    from loadtest.bench.bulk_isolation import measure_isolation

    def tell(text: str) -> None:
        if not as_json:
            click.echo(f"{text} ...", err=True)

    wanted = only or SECTIONS
    lines: list[Line] = []
    if set(wanted) - {"isolation"}:
        lines += _jobs(rows, rounds, workers, batch_rows, wanted, tell)
    if "isolation" in wanted:
        lines += measure_isolation(Path(ctx.obj["credit_data"]), max(rounds, 4), tell)
    keep(ctx, lines)
    if as_json:
        click.echo(msgspec.json.encode(lines).decode())
    else:
        for section in dict.fromkeys(line.section for line in lines):
            show([line for line in lines if line.section == section])


def _jobs(  # noqa: PLR0917 - one call, just above
    rows: int, rounds: int, workers: int, batch_rows: int, wanted: Sequence[str],
    tell: Callable[[str], None],
) -> Iterator[Line]:  # fmt: skip
    """Whatever needs files and models, but no node."""
    from loadtest.bench import bulk_parts, bulk_runs

    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name:
        folder = Path(name)
        bench = bulk_parts.build(folder / "models", tell)
        tell(f"writing {rows:,} rows")
        matrix = bulk_parts.matrix_of(rows)
        kinds = KINDS if "files" in wanted else ("parquet", "ndjson")
        files = {kind: bulk_parts.write_rows(folder, matrix, kind) for kind in kinds}
        job = bulk_runs.Jobs(bench.endpoint, folder, workers, batch_rows)
        if "files" in wanted:
            about = bulk_parts.write_rows(folder, matrix, "parquet", subjects=True)
            loop = bulk_parts.bare_loop(bench, matrix, batch_rows, workers)
            many = {**files, "parquet, a subject a row": about}
            yield from _files(job, loop, many, rows, rounds, tell)
        if "overhead" in wanted:
            yield from _overheads(job, files["parquet"], rounds, tell)
        if "memory" in wanted:
            tell("memory")
            for kind in ("parquet", "ndjson"):
                found = _memory(folder / "models", files[kind], batch_rows)
                what = f"above the loaded models, {kind}"
                yield Line("memory", what, found, "MB", "<= 256")
        if "peer" in wanted:
            yield from _peer(bench, job, files["parquet"], folder / "pandas.parquet", rows, tell)


def _peer(  # noqa: PLR0917 - one call, just above
    bench: Bench, job: Jobs, source: Path, out: Path, rows: int, tell: Callable[[str], None]
) -> Iterator[Line]:
    """scikit-learn on pandas over the same file."""
    from loadtest.bench import bulk_parts

    tell("scikit-learn and pandas")
    ours = rows / job.timed(source, "whole")
    peer = rows / _seconds(lambda: bulk_parts.pandas_job(bench, source, out))
    yield Line("peer", "scikit-learn predict_proba on pandas", peer, "rows/s")
    yield Line("peer", "parquet beside scikit-learn", ours / peer, "x")


def _files(  # noqa: PLR0917 - one call, just above
    job: Jobs, loop: Callable[[], None], files: dict[str, Path], rows: int, rounds: int,
    tell: Callable[[str], None],
) -> list[Line]:  # fmt: skip
    """Rows a second of each format and of the bare loop."""
    loop()  # warm
    job.timed(files["parquet"], "whole")
    speeds: dict[str, list[float]] = {kind: [] for kind in (*files, "bare")}
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        speeds["bare"].append(rows / _seconds(loop))
        for kind, path in files.items():
            speeds[kind].append(rows / job.timed(path, "whole"))
    bare = statistics.median(speeds["bare"])
    lines = [Line("files", "bare ONNX Runtime loop", bare, "rows/s")]
    for kind in files:
        limit = ">= 100,000" if kind == "ndjson" else ""
        lines.append(Line("files", kind, statistics.median(speeds[kind]), "rows/s", limit))
        ratios = [ours / theirs for ours, theirs in zip(speeds[kind], speeds["bare"], strict=True)]
        floor = ">= 0.8" if kind in FLOOR else ""
        lines.append(Line("files", f"{kind} beside it", statistics.median(ratios), "x", floor))
    return lines


def _overheads(job: Jobs, path: Path, rounds: int, tell: Callable[[str], None]) -> list[Line]:
    """What evidence adds to the time of one file, and what it takes to find it done already."""
    variants: tuple[Variant, ...] = ("without evidence", "whole", "resumed")
    took: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 2):
        tell(f"overheads, round {number + 1} of {rounds + 2}")
        for name in variants:
            took[name].append(job.timed(path, name))

    def ratio(one: Variant, other: Variant) -> float:
        pairs = zip(took[one], took[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    added = (ratio("whole", "without evidence") - 1) * 100
    return [
        Line("overhead", "evidence, of the time without", added, "%", "<= 5"),
        Line(
            "overhead", "resuming, of the whole time", ratio("resumed", "whole") * 100, "%", "<= 2"
        ),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _memory(models: Path, file: Path, batch_rows: int) -> float:
    """MB that a job takes above the loaded models, in a process of its own."""
    command = [sys.executable, "-m", "loadtest.bench.bulk_runs", models, file, batch_rows]
    found = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return float(found.stdout)
