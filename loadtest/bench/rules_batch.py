"""Whole columns through a table: our vector code beside polars, duckdb and numexpr, on one thread.

Run as a process of its own (``python -m loadtest.bench.rules_batch ROWS ROUNDS``): the number of
threads of polars is read when it is imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import operator
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from loadtest.bench.rules_tables import (
    Case,
    Every,
    Node,
    Some,
    Test,
    plain,
    ranges,
    rule_text,
)
from loadtest.errors import LoadTestError

MANY_RULES = 1_000
ONE_THREAD = dict.fromkeys(
    ("POLARS_MAX_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
Run = Callable[[], NDArray[Any]]
_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


class BatchFigures(Struct):
    """Median seconds of each.

    Attributes:
        ten: ten rules over a million rows, by engine.
        absent: peers that are not installed.
        many_s: a thousand range rules over a hundred thousand rows, ours.
        replay_s: a million rows through two revisions and the comparison, ours.
        rows: of ``ten`` and ``replay_s``.
        many_rows: of ``many_s``.
    """

    ten: dict[str, float]
    absent: list[str]
    many_s: float
    replay_s: float
    rows: int
    many_rows: int


REGIONS = ("north", "east", "south", "west", "abroad")


def ten_rules() -> Case:
    """Ten rules of four tests over five numbers and a word; most rows get as far as the last."""
    rules = []
    for number in range(10):
        first, second, third = (f"x{(number + step) % 5}" for step in range(3))
        low = 50.0 + 80 * number
        near = Every(
            (Test(first, ">=", low), Test(first, "<", low + 60.0), Test(second, "<", 700.0))
        )
        far = Every((Test(third, ">", 900.0 - number), Test("region", "=", REGIONS[number % 5])))
        rules.append(Some((near, far)))
    features = {f"x{number}": Feature("float") for number in range(5)}
    features["region"] = Feature("enum", values=REGIONS)
    return Case("10 rules", features, tuple(rules), ())


def columns_of(case: Case, rows: int, seed: int = 7) -> dict[str, Any]:
    """Uniform numbers from 0 to 1000; words as an Arrow dictionary."""
    import pyarrow as pa

    draw = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, feature in case.features.items():
        if feature.type == "enum":
            codes = pa.array(draw.integers(0, len(feature.values), rows).astype(np.int32))
            columns[name] = pa.DictionaryArray.from_arrays(codes, list(feature.values))
        else:
            columns[name] = draw.uniform(0, 1000, rows)
    return columns


def ours(case: Case, columns: dict[str, Any], rows: int) -> Run:
    """Our vector code, compiled."""
    compiled = compile_rules(rule_text(case), features=case.features)
    compiled.numpy(columns, rows)
    return lambda: compiled.numpy(columns, rows)


def polars(case: Case, columns: dict[str, Any]) -> Run:
    """when/then/otherwise over a frame."""
    library = importlib.import_module("polars")
    words = {name: f.values for name, f in case.features.items() if f.type == "enum"}
    frame = library.DataFrame(
        {
            name: library.Series(name, column.to_pylist(), library.Enum(list(words[name])))
            if name in words
            else column
            for name, column in columns.items()
        }
    )
    chain: Any = None
    for place, rule in enumerate(case.rules):
        condition = _polars(library, rule)
        chain = (
            (library if chain is None else chain)
            .when(condition)
            .then(library.lit(place, library.Int16))
        )
    routed = chain.otherwise(library.lit(len(case.rules), library.Int16)).alias("route")

    def run() -> NDArray[Any]:
        found: NDArray[Any] = frame.select(routed)["route"].to_numpy()
        return found

    return run


def _polars(library: Any, node: Node) -> Any:
    """A condition as an expression."""
    if isinstance(node, Test):
        return _COMPARE[node.op](library.col(node.name), node.value)
    return functools.reduce(
        operator.and_ if isinstance(node, Every) else operator.or_,
        (_polars(library, each) for each in node.of),
    )


def duckdb(case: Case, columns: dict[str, Any]) -> Run:
    """CASE WHEN over a table in memory."""
    library = importlib.import_module("duckdb")
    connection = library.connect(config={"threads": 1})
    arrow = importlib.import_module("pyarrow").table(columns)
    connection.register("arrived", arrow)
    words = ", ".join(f"'{word}'" for word in REGIONS)
    connection.execute(f"CREATE TYPE region AS ENUM ({words})")
    connection.execute(
        "CREATE TABLE source AS SELECT * REPLACE (region::region AS region) FROM arrived"
    )
    cases = " ".join(
        f"WHEN {plain(rule, both='AND', either='OR', equal='=')} THEN {place}::SMALLINT"
        for place, rule in enumerate(case.rules)
    )
    query = f"SELECT CASE {cases} ELSE {len(case.rules)}::SMALLINT END AS route FROM source"  # noqa: S608
    return lambda: connection.execute(query).fetchnumpy()["route"]


def numexpr(case: Case, columns: dict[str, Any]) -> Run:
    """Nested where() in its virtual machine; words as the numbers of their codes."""
    library = importlib.import_module("numexpr")
    library.set_num_threads(1)
    text = str(len(case.rules))
    for place in reversed(range(len(case.rules))):
        condition = plain(_numbered(case.rules[place]), both="&", either="|", test="({})")
        text = f"where({condition}, {place}, {text})"
    given = {
        name: column if isinstance(column, np.ndarray) else column.indices.to_numpy()
        for name, column in columns.items()
    }
    return lambda: library.evaluate(text, local_dict=given)


def _numbered(node: Node) -> Node:
    """The same condition with codes for words."""
    if isinstance(node, Test):
        if isinstance(node.value, str):
            return Test(node.name, node.op, REGIONS.index(node.value))
        return node
    return type(node)(tuple(_numbered(each) for each in node.of))


PEERS: dict[str, Callable[[Case, dict[str, Any]], Run]] = {
    "polars": polars,
    "duckdb": duckdb,
    "numexpr": numexpr,
}


def measure(rows: int, rounds: int) -> BatchFigures:
    """Every engine in turns, answers compared first.

    Raises:
        LoadTestError: two engines answer differently.
    """
    case = ten_rules()
    columns = columns_of(case, rows)
    runs: dict[str, Run] = {"interlock": ours(case, columns, rows)}
    absent = []
    for name, make in PEERS.items():
        if importlib.util.find_spec(name) is None:
            absent.append(name)
            continue
        runs[name] = make(case, columns)
    expected = runs["interlock"]()
    for name, run in runs.items():
        if not np.array_equal(np.asarray(run()), expected):
            raise LoadTestError(f"{name} answers differently on {case.name}")
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # untimed: the engine before it left its own data in the caches
            taken[name].append(_seconds(run))
    many_rows = max(rows // 10, 1)
    many = ranges(MANY_RULES)
    many_run = ours(many, columns_of(many, many_rows), many_rows)
    revised = Case(case.name, case.features, (*case.rules[:5], *case.rules[6:]), ())
    second = ours(revised, columns, rows)

    def replay() -> NDArray[Any]:
        return np.flatnonzero(runs["interlock"]() != second())

    return BatchFigures(
        {name: statistics.median(values) for name, values in taken.items()},
        absent,
        statistics.median(_seconds(many_run) for _ in range(rounds)),
        statistics.median(_seconds(replay) for _ in range(rounds)),
        rows,
        many_rows,
    )


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class CompileFigures(Struct):
    """Seconds to parse, check, compile and analyse a table, and the peak memory of the process."""

    compile_s: float
    analyse_s: float
    peak_mb: float


def measure_compile(count: int) -> CompileFigures:
    """From text to findings in this process, which did nothing else."""
    case = ranges(count)
    document = rule_text(case)
    start = time.perf_counter()
    compiled = compile_rules(document, features=case.features)
    compiled.scalar("struct")
    middle = time.perf_counter()
    compiled.analyse()
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return CompileFigures(middle - start, end - middle, peak)


def in_process(*words: str) -> bytes:
    """What a run of this module in a process of its own prints.

    Raises:
        LoadTestError: it failed; with the last line it wrote.
    """
    command = [sys.executable, "-m", "loadtest.bench.rules_batch", *words]
    done = subprocess.run(
        command, env={**os.environ, **ONE_THREAD}, capture_output=True, check=False, timeout=600
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise LoadTestError(said[-1] if said else f"rules_batch ended with {done.returncode}")
    return done.stdout


def main() -> None:
    """``batch ROWS ROUNDS`` or ``compile RULES``: figures as JSON."""
    what, *numbers = sys.argv[1:]
    figures: Any = (
        measure(int(numbers[0]), int(numbers[1]))
        if what == "batch"
        else measure_compile(int(numbers[0]))
    )
    sys.stdout.buffer.write(msgspec.json.encode(figures))


if __name__ == "__main__":
    main()
