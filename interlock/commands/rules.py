"""``interlock rules``: check, evaluate and explain rule tables; no stack needed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from compiler.errors import AppError, Problem, ProblemsError
from compiler.rules.ast import (
    DecisionConsequent,
    ModelConsequent,
    RejectConsequent,
    SplitConsequent,
)
from compiler.rules.compiled import CompiledRules
from compiler.rules.engine import Engine
from compiler.rules.pipeline import compile_rules
from compiler.rules.places import excerpt
from compiler.schema import FeatureMap, OutputSchema
from interlock.commands.findings import Progress, summary, with_places, worded
from interlock.commands.rules_convert import convert
from interlock.commands.rules_diff import diff
from interlock.commands.rules_import import import_rules

REFUSED = 2
ENGINES = ("reference", "scalar", "numpy", "index")
BATCH_ROWS = 16_384


class _Schema(msgspec.Struct, forbid_unknown_fields=True):
    """A schema file that also says what the models answer."""

    features: FeatureMap
    output: OutputSchema | None = None


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The table, its schema and its kind: what every sub-command starts from."""
    file = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
    command = click.option(
        "--kind",
        type=click.Choice(["routing", "decision"]),
        default="routing",
        help="What a table in text form is for; the JSON form says it itself.",
    )(command)
    command = click.option(
        "--schema",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help='JSON: {"amount": {"type": "float"}, ...} or {"features": ..., "output": ...}.',
    )(command)
    return click.argument("file", type=file)(command)


class RulesGroup(click.Group):
    """Sub-commands whose refusals end with every problem, its place and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a sub-command; no refusal shows a traceback."""
        try:
            return super().invoke(ctx)
        except AppError as error:
            problems = error.problems if isinstance(error, ProblemsError) else (error.problem(),)
            source = error.source if isinstance(error, ProblemsError) else None
            for problem in problems:
                click.echo(f"error: {problem}", err=True)
                shown = excerpt(problem.at, source)
                if shown:
                    click.echo(shown, err=True)
            ctx.exit(REFUSED)


@click.group(cls=RulesGroup)
def rules() -> None:
    """Check, evaluate and explain rule tables.

    Example: interlock rules check table.txt --schema schema.json
    """


rules.add_command(import_rules)
rules.add_command(convert)
rules.add_command(diff)


@rules.command()
@options
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def check(file: Path, schema: Path | None, kind: str, as_json: bool) -> None:
    """Parse, type-check and analyse a table.

    Exit status: 0 clean or notes, 1 findings at level error, 2 not a rule table.
    """
    source = read_source(file)
    compiled = load_source(source, schema, kind)
    findings = with_places(compiled.analyse(Progress()), source.decode("utf-8-sig"))
    if as_json:
        click.echo(msgspec.json.encode({"digest": compiled.digest, "findings": findings}).decode())
    else:
        for finding in findings:
            click.echo(worded(finding))
        click.echo(f"{file}: {summary(findings, len(compiled.steps()))}")
    sys.exit(1 if any(finding.level == "error" for finding in findings) else 0)


@rules.command("eval")
@options
@click.option(
    "--input",
    "rows",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="NDJSON, CSV or Parquet; - is NDJSON on standard input.",
)
@click.option("--engine", type=click.Choice(ENGINES), default="scalar", show_default=True)
@click.option("--now", help="RFC 3339 time that rules see as now; the present without it.")
def evaluate(
    *, file: Path, schema: Path | None, kind: str, rows: Path, engine: str, now: str | None
) -> None:
    """Route every row: one JSON line each with route, rule and the rules that were UNKNOWN.

    Rows are read leniently: a value of a wrong type is MISSING.

    Example: interlock rules eval table.txt --schema schema.json --input rows.ndjson
    """
    compiled = load(file, schema, kind)
    now_us = now_micros(now)
    encode = msgspec.json.Encoder().encode
    for batch in batches(read_rows(rows, compiled.features)):
        for line in route_rows(compiled, batch, engine, now_us):
            sys.stdout.buffer.write(encode(line) + b"\n")


@rules.command()
@options
@click.option("--input", "rows", required=True, help="File of one row, or the row itself as JSON.")
@click.option("--now", help="RFC 3339 time that rules see as now.")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def explain(
    *, file: Path, schema: Path | None, kind: str, rows: str, now: str | None, as_json: bool
) -> None:
    """Show why a row takes its route: every test's T, F or U and the values it read.

    Example: interlock rules explain table.txt --schema schema.json --input '{"amount": 5}'
    """
    compiled = load(file, schema, kind)
    row = _one_row(rows, compiled.features)
    told = compiled.explain(row, now_micros(now))
    route = answer(compiled, told.index, row)
    if as_json:
        click.echo(msgspec.json.encode({**route, "unknown": told.unknown, "rules": told.rules}))
        return
    for rule in told.rules:
        click.echo(f"{rule.value}  {rule.rule}")
        for leaf in rule.leaves:
            read = ", ".join(f"{name} = {_shown(value)}" for name, value in leaf.read.items())
            click.echo(f"   {leaf.value}  {leaf.test:<44} {read}")
    click.echo(f"-> {route['route']}  (rule {route['rule']})")


def _shown(value: Any) -> str:
    return "MISSING" if value is None else msgspec.json.encode(value).decode()


def load(file: Path, schema: Path | None, kind: str) -> CompiledRules:
    """The compiled table of a file.

    Raises:
        ProblemsError: everything wrong with the table or its schema.
    """
    return load_source(read_source(file), schema, kind)


def read_source(file: Path) -> bytes:
    """What a file, or standard input for ``-``, holds."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def load_source(source: bytes, schema: Path | None, kind: str) -> CompiledRules:
    """The compiled table of a source.

    Raises:
        ProblemsError: everything wrong with the table or its schema.
    """
    features, output = read_schema(schema) if schema else (None, None)
    return compile_rules(
        source,
        features=features,
        output=output,
        kind="decision" if (_own_kind(source) or kind) == "decision" else "routing",
    )


def _own_kind(source: bytes) -> str:
    """The kind that a table in JSON form says itself; empty when it does not."""
    try:
        document = msgspec.json.decode(source)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    found = document.get("kind") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def read_schema(path: Path) -> tuple[FeatureMap, OutputSchema | None]:
    """Features, and what the models answer, of a schema file.

    Raises:
        ProblemsError: not such a file.
    """
    raw = path.read_bytes()
    try:
        document = msgspec.json.decode(raw)
        inner = document.get("features") if isinstance(document, dict) else None
        if isinstance(inner, dict) and "type" not in inner:
            found = msgspec.convert(document, _Schema)
            return found.features, found.output
        return msgspec.convert(document, FeatureMap), None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProblemsError(
            [
                Problem(
                    "schema.invalid",
                    f"expected a feature schema, got: {error}",
                    str(path),
                    'write {"amount": {"type": "float"}, ...}',
                )
            ]
        ) from None


def answer(compiled: CompiledRules, index: int, row: dict[str, Any]) -> dict[str, Any]:
    """Route and rule of a deciding leaf; a negative index is a table that stops on UNKNOWN."""
    if index < 0:
        return {"route": "error", "rule": compiled.ids[-1 - index]}
    leaf, rule = compiled.consequents[index], compiled.ids[index]
    if isinstance(leaf, ModelConsequent):
        return {"route": leaf.model, "rule": rule}
    if isinstance(leaf, DecisionConsequent):
        return {"route": leaf.decision, "rule": rule}
    if isinstance(leaf, SplitConsequent):
        from compiler.rules.splits import assign

        arm = leaf.arms[assign(leaf, row.get(leaf.unit)).arm]
        return {"route": arm.model, "rule": rule, "arm": arm.name}
    if isinstance(leaf, RejectConsequent):
        return {"route": "reject", "rule": rule}
    return {"route": type(leaf).__name__.removesuffix("Consequent").lower(), "rule": rule}


def route_rows(
    compiled: CompiledRules, batch: list[dict[str, Any]], engine: str, now_us: int
) -> Iterator[dict[str, Any]]:
    """One answer per row by the engine asked for, in order."""
    if engine == "reference":
        for row in batch:
            index, unknown = compiled.reference(row, now_us)
            yield {**answer(compiled, index, row), "unknown": unknown}
        return
    if engine == "numpy":
        import numpy as np

        columns = {}
        for name in compiled.scope:
            column = np.empty(len(batch), dtype=object)
            column[:] = [row.get(name) for row in batch]
            columns[name] = column
        indices = compiled.numpy(columns, len(batch), now_us).tolist()
    else:
        forced: Engine | None = "index" if engine == "index" else None
        indices = [_scalar(compiled, row, now_us, forced) for row in batch]
    for row, index in zip(batch, indices, strict=True):
        unknown = compiled.reference(row, now_us)[1]
        yield {**answer(compiled, index, row), "unknown": unknown}


def _scalar(
    compiled: CompiledRules, row: dict[str, Any], now_us: int, engine: Engine | None
) -> int:
    route = compiled.scalar("dict", engine=engine)
    output = compiled.output
    if compiled.table.kind != "decision" or output is None:
        return route(row, None, now_us)
    if output.task == "classification":
        shares = tuple(row.get(f"output.probability.{name}") for name in output.classes)
        return route(row, None, now_us, (row.get("output.label"), shares))
    names = ("output.value",) if output.task == "regression" else ("output.cluster",
                                                                   "output.distance")  # fmt: skip
    return route(row, None, now_us, tuple(row.get(name) for name in names))


def read_rows(path: Path, features: FeatureMap) -> Iterator[dict[str, Any]]:
    """Rows of a file as flat mappings, by its suffix: CSV, Parquet, else NDJSON.

    Raises:
        ProblemsError: a line is not a JSON object; its number is the place.
        TableFileError: the file cannot be read.
    """
    if path.suffix in (".csv", ".parquet", ".pq"):
        from serving.tabular import read_batches

        for batch in read_batches(path, features):
            yield from batch.to_pylist()
        return
    decoder = msgspec.json.Decoder()
    stream = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise _bad_row(path, number, str(error)) from None
            if not isinstance(row, dict):
                raise _bad_row(path, number, f"got {type(row).__name__}")
            yield row


def _bad_row(path: Path, number: int, why: str) -> ProblemsError:
    hint = "write one JSON object a line, such as " + '{"amount": 5}'
    message = f"expected a JSON object, {why}"
    return ProblemsError([Problem("rows.json", message, f"{path}:{number}", hint)])


def _one_row(text: str, features: FeatureMap) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            row: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise _bad_row(Path("--input"), 1, str(error)) from None
        return row
    if text != "-" and not Path(text).is_file():
        raise _bad_row(Path("--input"), 1, f"got no such file {text!r}")
    for row in read_rows(Path(text), features):
        return row
    raise _bad_row(Path(text), 1, "got an empty file")


def batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups; what came before a bad row is still routed."""
    batch: list[dict[str, Any]] = []
    try:
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                yield batch
                batch = []
    except AppError:
        yield batch
        raise
    yield batch


def now_micros(text: str | None) -> int:
    """Microseconds of an RFC 3339 time; of the present without one.

    Raises:
        ProblemsError: not such a time.
    """
    if text is None:
        return time.time_ns() // 1000
    from datetime import datetime

    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        hint = "write it as 2026-06-15T12:00:00Z"
        message = f"expected an RFC 3339 time with an offset, got {text!r}"
        raise ProblemsError([Problem("rules.now", message, "--now", hint)])
    return round(moment.timestamp() * 1_000_000)
