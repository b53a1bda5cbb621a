"""``interlock bench rules``: one decision, whole columns and the compiler, beside other engines.

Every answer is compared with the hand-written table before anything is timed. Engines are measured
in turns on one thread, median of the rounds, so that a busy machine disturbs all alike; compare
figures of one run only.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from compiler.rules.pipeline import compile_rules
from loadtest.bench.peers.rules_scalar import PEERS, Decide, python
from loadtest.bench.rules_batch import BatchFigures, CompileFigures, in_process
from loadtest.bench.rules_tables import Case, lending, none_match, ranges, rule_text
from loadtest.errors import LoadTestError

OURS = "interlock"
FULL_ROWS = 1_000_000
SIZES = (3, 10, 30, 100, 300, 1000, 3000)


class Line(Struct, frozen=True):
    """One figure with what it should be.

    Attributes:
        what: what was measured.
        engine: whose.
        value: the figure.
        unit: ``ns``, ``us``, ``ms``, ``s``, ``MB``, or ``x`` (how many times ours).
        limit: in words; empty when there is none.
        held: whether it is kept; None without a limit.
    """

    what: str
    engine: str
    value: float
    unit: str
    limit: str = ""
    held: bool | None = None


class RulesReport(Struct, frozen=True):
    """Everything that was found.

    Attributes:
        lines: figures in order.
        curve: microseconds per decision by engine, aligned with ``sizes``; None where not asked.
        sizes: numbers of rules of the curve.
        absent: peers that are not installed.
    """

    lines: tuple[Line, ...]
    curve: dict[str, list[float | None]]
    sizes: tuple[int, ...]
    absent: tuple[str, ...]
    format: str = "interlock/bench-rules/v1"


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the rows and rounds.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG.")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def rules(*, quick: bool, plot: Path | None, as_json: bool) -> None:
    """One decision, whole columns and the compiler, beside the engines that are installed.

    Example: interlock bench rules --plot rules.png
    """

    def tell(text: str) -> None:
        if not as_json:
            click.echo(f"{text} ...", err=True)

    report = measure(quick=quick, tell=tell)
    if plot is not None:
        from loadtest.bench.plots import plot_rules

        plot_rules(report, plot)
        tell(f"plot: {plot}")
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        show(report)


def measure(*, quick: bool, tell: Callable[[str], None]) -> RulesReport:
    """Every section.

    Raises:
        LoadTestError: an engine answers differently.
    """
    rounds = 3 if quick else 15
    lines: list[Line] = []
    absent: list[str] = []
    tell("one decision of the lending table")
    found = decisions(lending(), rounds, absent)
    lines += scalar_lines("lending table", found, _FASTER, limit_ns=200)
    tell("200 rules, none matching")
    lines += scalar_lines("200 rules, none", decisions(none_match(), rounds, []), {}, limit_ns=4000)
    tell("1,000 range rules")
    only = decisions(ranges(1000), rounds, [], peers=False)
    lines += scalar_lines("1,000 range rules", only, {}, limit_ns=6000)
    tell("a curve over the number of rules")
    sizes = SIZES[:4] if quick else SIZES
    curve = curves(sizes, max(rounds // 3, 1))
    tell("whole columns")
    rows = FULL_ROWS // 10 if quick else FULL_ROWS
    batch = msgspec.json.decode(
        in_process("batch", str(rows), str(max(rounds, 1))), type=BatchFigures
    )
    lines += batch_lines(batch)
    absent += batch.absent
    tell("compiling and analysing 1,000 rules")
    made = msgspec.json.decode(in_process("compile", "1000"), type=CompileFigures)
    lines += compile_lines(made)
    return RulesReport(tuple(lines), curve, sizes, tuple(absent))


_FASTER = {
    "zen-engine, decision": 15.0,
    "zen-engine, expression": 15.0,
    "rule-engine": 30.0,
    "Rust CEL": 30.0,
    "datalogic-py": 1.5,
}
"""How many times our time each should take on the lending table."""


def decisions(
    case: Case, rounds: int, absent: list[str], *, peers: bool = True
) -> dict[str, float]:
    """Nanoseconds per decision by engine, ours and the hand-written one first.

    Raises:
        LoadTestError: an engine answers differently.
    """
    compiled = compile_rules(rule_text(case), features=case.features)
    scalar = compiled.scalar("dict")
    prepared: dict[str, tuple[Decide, list[Any]]] = {
        OURS: (lambda row: scalar(row, None, 0), list(case.rows)),
        "Python by hand": python(case),
    }
    for name, (module, make, most) in PEERS.items() if peers else ():
        if importlib.util.find_spec(module) is None:
            absent.append(name)
        elif len(case.rules) <= most:
            prepared[name] = make(case)
    expected = [prepared["Python by hand"][0](row) for row in case.rows]
    for name, (decide, rows) in prepared.items():
        answers = [decide(row) for row in rows]
        if answers != expected:
            raise LoadTestError(f"{name} answers differently on {case.name}")
    # ours is called as its users call it, without the wrapper that the comparison needs
    timed = {name: _timer(decide, rows) for name, (decide, rows) in prepared.items()}
    timed[OURS] = _timer_of_three(scalar, list(case.rows))
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            taken[name].append(run())
    return {name: statistics.median(values) for name, values in taken.items()}


def _timer(decide: Decide, rows: list[Any]) -> Callable[[], float]:
    """Nanoseconds a call over about two milliseconds."""
    import time

    def run(times: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(times):
            for row in rows:
                decide(row)
        return (time.perf_counter_ns() - start) / times / len(rows)

    times = max(1, int(2e6 / max(run(1) * len(rows), 1)))
    return lambda: run(times)


def _timer_of_three(decide: Callable[..., int], rows: list[Any]) -> Callable[[], float]:
    """The same for a function of row, context and time."""
    import time

    def run(times: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(times):
            for row in rows:
                decide(row, None, 0)
        return (time.perf_counter_ns() - start) / times / len(rows)

    times = max(1, int(2e6 / max(run(1) * len(rows), 1)))
    return lambda: run(times)


def curves(sizes: tuple[int, ...], rounds: int) -> dict[str, list[float | None]]:
    """Microseconds per decision on range rules by engine, for each number of rules."""
    found: dict[str, list[float | None]] = {}
    for place, size in enumerate(sizes):
        for name, value in decisions(ranges(size), rounds, []).items():
            found.setdefault(name, [None] * len(sizes))[place] = value / 1000
    return found


def scalar_lines(
    what: str, found: dict[str, float], faster: dict[str, float], *, limit_ns: float
) -> list[Line]:
    """Our figure against its limit, the others against ours."""
    ours = found[OURS]
    lines = [
        Line(what, OURS, ours, "ns", f"at most {limit_ns:,.0f} ns", ours <= limit_ns),
    ]
    for name, value in found.items():
        if name == OURS:
            continue
        times = faster.get(name)
        limit = f"at least {times:g} times ours" if times else ""
        held = value >= times * ours if times else None
        lines.append(Line(what, name, value / ours, "x", limit, held))
    return lines


def batch_lines(found: BatchFigures) -> list[Line]:
    """Columns: ours in milliseconds, the others in times ours."""
    ours = found.ten[OURS]
    whole = found.rows == FULL_ROWS  # the limits are about so many
    what = f"10 rules, {found.rows:,} rows"
    lines = [Line(what, OURS, ours * 1e3, "ms")]
    for name, value in found.ten.items():
        if name != OURS:
            least = 2.0 if name == "polars" else 1.0
            limit = f"at least {least:g} times ours" if whole else ""
            held = value >= least * ours if whole else None
            lines.append(Line(what, name, value / ours, "x", limit, held))
    lines.append(
        Line(
            f"1,000 rules, {found.many_rows:,} rows", OURS, found.many_s * 1e3, "ms",
            "at most 1,000 ms" if whole else "", found.many_s <= 1.0 if whole else None,
        )
    )  # fmt: skip
    lines.append(
        Line(
            f"two revisions, {found.rows:,} rows", OURS, found.replay_s * 1e3, "ms",
            "at most 1,000 ms" if whole else "", found.replay_s <= 1.0 if whole else None,
        )
    )  # fmt: skip
    return lines


def compile_lines(made: CompileFigures) -> list[Line]:
    """What a thousand rules cost before their first decision."""
    total = made.compile_s + made.analyse_s
    what = "1,000 range rules"
    return [
        Line(f"compile {what}", OURS, made.compile_s, "s"),
        Line(f"compile and analyse {what}", OURS, total, "s", "at most 2 s", total <= 2.0),
        Line("memory of that process", OURS, made.peak_mb, "MB", "at most 300 MB",
             made.peak_mb <= 300),
    ]  # fmt: skip


def show(report: RulesReport) -> None:
    """The figures as a table."""
    from rich.table import Table

    from loadtest.show import wide_console

    console = wide_console()
    table = Table(box=None, title="rules: ours in time, others in times ours")
    for name in ("what", "engine", "figure", "", "limit", ""):
        table.add_column(name, justify="right" if name == "figure" else "left")
    for line in report.lines:
        word = "" if line.held is None else ("held" if line.held else "[red]NOT held[/]")
        table.add_row(line.what, line.engine, f"{line.value:,.4g}", line.unit, line.limit, word)
    console.print(table)
    if report.absent:
        console.print(f"not installed: {', '.join(dict.fromkeys(report.absent))}")
    console.print(
        "answers of all engines were compared before timing; medians of rounds in turns, one thread"
    )
