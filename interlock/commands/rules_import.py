"""``interlock rules import``: rules of other tools to our JSON form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from compiler.errors import Problem, ProblemsError
from compiler.rules import limits
from compiler.rules.importers.jsonlogic import import_jsonlogic
from compiler.rules.importers.querybuilder import import_querybuilder
from compiler.rules.importers.report import Imported
from compiler.rules.json_source import load_json
from compiler.rules.places import with_lines

IMPORTERS: dict[str, Callable[..., Imported]] = {
    "jsonlogic": import_jsonlogic,
    "querybuilder": import_querybuilder,
}


@click.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--from", "source", type=click.Choice(sorted(IMPORTERS)), required=True)
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Types of the fields: {"amount": {"type": "float"}, ...}. Without it they are inferred.',
)
@click.option(
    "--then", default="true", show_default=True, help="Model where a bare condition holds."
)
@click.option("--else", "otherwise", default="false", show_default=True, help="Model where not.")
def import_rules(
    *, file: Path, source: str, schema: Path | None, then: str, otherwise: str
) -> None:
    """Print a rule of another tool as a table of the JSON form; differences on standard error.

    Exit status: 0 imported, 1 refused with reasons, 2 unreadable.

    Example: interlock rules import query.json --from querybuilder --schema schema.json
    """
    from interlock.commands.rules import read_schema

    text = _text_of(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    data: Any = load_json(text)
    features = read_schema(schema)[0] if schema else None
    try:
        found = IMPORTERS[source](data, features, then=then, otherwise=otherwise)
    except ProblemsError as error:
        for problem in with_lines(error.problems, text):
            click.echo(f"refused: {problem}", err=True)
        sys.exit(1)
    for difference in with_lines(found.differences, text):
        click.echo(f"differs: {difference}", err=True)
    click.echo(msgspec.json.format(msgspec.json.encode(found.document), indent=2).decode())


def _text_of(raw: bytes) -> str:
    """A source of ordinary size as text.

    Raises:
        ProblemsError: too large, or not UTF-8.
    """
    most = limits.MAX_SOURCE_BYTES
    problem = Problem("rule.too_large", f"expected at most {most} bytes, got {len(raw)}")
    if len(raw) <= most:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = "expected UTF-8 text, got other bytes"
            problem = Problem("rule.syntax", message, f"byte {error.start}")
    raise ProblemsError([problem])
