"""``interlock rules convert``: a rule table in its other form, or in another language."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from compiler.errors import Problem, ProblemsError
from compiler.rules.compiled import CompiledRules
from compiler.rules.export.cel import to_cel
from compiler.rules.export.exported import Exported
from compiler.rules.export.python import to_python
from compiler.rules.export.sql import to_sql
from compiler.rules.pipeline import compile_rules
from compiler.rules.places import without_places
from compiler.rules.print_json import table_json
from compiler.rules.print_table import print_table

FORMS = ("json", "text", "cel", "sql", "python")


@click.command("convert")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--to", "form", type=click.Choice(FORMS), required=True)
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON: {"amount": {"type": "float"}, ...} or {"features": ..., "output": ...}.',
)
@click.option(
    "--kind",
    type=click.Choice(["routing", "decision"]),
    default="routing",
    help="What a table in text form is for; the JSON form says it itself.",
)
def convert(*, file: Path, form: str, schema: Path | None, kind: str) -> None:
    """Print a table in another form; where it means something else is said on standard error.

    The table is printed as it is understood: names resolved, literals in the type of their feature.
    json and text are read back and compared before they are printed.

    Exit status: 0 converted, 1 refused with reasons, 2 not a rule table.

    Example: interlock rules convert table.txt --schema schema.json --to sql
    """
    from interlock.commands.rules import load

    compiled = load(file, schema, kind)
    try:
        found = CONVERTERS[form](compiled)
    except ProblemsError as error:
        for problem in error.problems:
            click.echo(f"refused: {problem}", err=True)
        sys.exit(1)
    for difference in found.differences:
        click.echo(f"differs: {difference}", err=True)
    click.echo(found.text, nl=False)


def to_json(rules: CompiledRules) -> Exported:
    """The JSON form, declarations included."""
    document = table_json(rules.table, rules.features, rules.output)
    _proved(rules, document)
    return Exported(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def to_text(rules: CompiledRules) -> Exported:
    """The text form; what it has no words for is a difference."""
    text = print_table(rules.table)
    _proved(rules, text)
    differences = []
    if rules.features:
        message = "the text form declares no features: keep them in a file for --schema"
        differences.append(Problem("text.features", message))
    if rules.table.kind == "decision":
        message = "the text form says neither its kind nor what the models answer: read it with "
        differences.append(Problem("text.kind", message + "--kind decision and --schema"))
    return Exported(text, tuple(differences))


def _proved(rules: CompiledRules, document: object) -> None:
    """Read a conversion back.

    Raises:
        ProblemsError: it is not the table; nesting close to the limit can do that, since the forms
            need different numbers of levels.
    """
    again = compile_rules(
        document,  # type: ignore[arg-type]
        features=rules.features,
        output=rules.output,
        kind=rules.table.kind,
    )
    if without_places(again.table) != without_places(rules.table):
        message = "expected the form to hold the whole table, got another one back"
        raise ProblemsError([Problem("convert.differs", message)])


CONVERTERS: dict[str, Callable[[CompiledRules], Exported]] = {
    "json": to_json,
    "text": to_text,
    "cel": to_cel,
    "sql": to_sql,
    "python": to_python,
}
