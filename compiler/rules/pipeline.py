"""Front door of the rule compiler: a document in, a compiled table out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from compiler.errors import Problem, ProblemsError
from compiler.rules import limits
from compiler.rules.check import check_table
from compiler.rules.compiled import CompiledRules, canonical_bytes
from compiler.rules.hints import with_hints
from compiler.rules.json_source import half_pair, load_json
from compiler.rules.lex import MAX_PROBLEMS
from compiler.rules.names import FEATURE_NAME, output_features
from compiler.rules.parse_json import Document, read_document
from compiler.rules.parse_text import read_text
from compiler.rules.places import position, with_lines
from compiler.schema import FeatureMap, OutputSchema

Kind = Literal["routing", "decision"]


def compile_rules(
    document: bytes | str | dict[str, Any],
    *,
    features: FeatureMap | None = None,
    output: OutputSchema | None = None,
    kind: Kind = "routing",
) -> CompiledRules:
    """Parse, check and compile a rule table.

    Args:
        document: JSON envelope or IF/THEN text (told apart by the first character), or decoded
            JSON; ``{"text": "IF ..."}`` is the text form in JSON.
        features: added to the envelope's; on the same name these win.
        output: what the models answer; overrides the envelope's. Needed by decision tables.
        kind: what the table is for.

    Raises:
        ProblemsError: every problem, with its place and what to do about it.
    """
    try:
        return _compiled(document, features, output, kind)
    except ProblemsError as error:
        raise ProblemsError(with_hints(error.problems), source=error.source) from None
    except UnicodeEncodeError as error:  # text of a caller in Python: half a pair has no bytes
        raise ProblemsError([half_pair(_place_of(document, error))]) from None


def _place_of(document: bytes | str | dict[str, Any], error: UnicodeEncodeError) -> str:
    """Where a text holds the character; a decoded document has no lines."""
    place = document.find(error.object[error.start]) if isinstance(document, str) else -1
    if not isinstance(document, str) or place < 0:
        return "$"
    start = document.rfind("\n", 0, place) + 1
    return f"{document.count(chr(10), 0, place) + 1}:{place - start + 1}"


def _compiled(
    document: bytes | str | dict[str, Any],
    features: FeatureMap | None,
    output: OutputSchema | None,
    kind: Kind,
) -> CompiledRules:
    source: str | None = None
    if isinstance(document, bytes | str):
        source, document = _read_source(document)
    if isinstance(document, dict) and set(document) - {"features"} == {"text"}:
        document, features = _text_in_json(document, features)
        source = document
    if isinstance(document, str):
        table, problems = read_text(document, kind=kind)
        parsed = Document(table, {})
    else:
        try:
            parsed, problems = read_document(document, kind=kind, features=features, output=output)
        except ProblemsError as error:
            raise ProblemsError(with_lines(error.problems, source), source=source) from None
    if problems:
        problems = _with_checks(parsed, problems, features, output, source)
        raise ProblemsError(problems, source=source)
    return compile_document(parsed, features=features, output=output, source=source)


def compile_document(
    parsed: Document,
    *,
    features: FeatureMap | None = None,
    output: OutputSchema | None = None,
    source: str | None = None,
) -> CompiledRules:
    """Check and compile a parsed table.

    Raises:
        ProblemsError: every problem, with its place.
    """
    known = {**parsed.features, **(features or {})}
    output = output or parsed.output
    problems = feature_problems(known)
    scope = dict(known)
    if parsed.table.kind == "decision":
        scope.update(output_features(output))
        if output is None:
            problems.append(
                Problem(
                    "rule.no_output",
                    "expected to know what the models answer, got no output schema",
                    "$.output",
                    'add "output": {"task": ..., "classes": [...]}',
                )
            )
    table, found = check_table(parsed.table, scope)
    problems.extend(found)
    if problems:
        raise ProblemsError(with_lines(problems, source), source=source)
    canonical = canonical_bytes([table, known, output])
    return CompiledRules(table, known, output, canonical)


def _with_checks(
    parsed: Document,
    problems: list[Problem],
    features: FeatureMap | None,
    output: OutputSchema | None,
    source: str | None,
) -> list[Problem]:
    """Problems of a source, with those of the names and types in its sound rules, by place."""
    declared = not any(problem.at.startswith(("$.features", "$.output")) for problem in problems)
    if declared:  # else every name would be called unknown
        scope = {**parsed.features, **(features or {})}
        if parsed.table.kind == "decision":
            scope.update(output_features(output or parsed.output))
        problems = [*problems, *check_table(parsed.table, scope)[1]]
    found = with_lines(problems, source)
    placed = found[:MAX_PROBLEMS]
    placed.sort(key=lambda problem: position(problem.at))
    return placed + found[MAX_PROBLEMS:]


def _text_in_json(
    document: dict[str, Any], features: FeatureMap | None
) -> tuple[str, FeatureMap | None]:
    """The text of ``{"text", "features"}``, and the features it is read with."""
    text = document["text"]
    if not isinstance(text, str):
        message = f"expected the text form as a text, got {type(text).__name__}"
        raise ProblemsError([Problem("rule.shape", message, "$.text")])
    try:
        own = msgspec.convert(document.get("features", {}), FeatureMap)
    except msgspec.ValidationError as error:
        message = f"expected a feature schema, got: {error}"
        raise ProblemsError([Problem("schema.invalid", message, "$.features")]) from None
    return text, {**own, **(features or {})}


def feature_problems(features: FeatureMap) -> list[Problem]:
    """What is wrong with the declarations themselves."""
    found = []
    for name, feature in features.items():
        at = f"$.features.{name}"
        if not FEATURE_NAME.match(name):
            found.append(
                Problem(
                    "schema.name",
                    f"expected a name of letters, digits and _, got {name[:40]!r}",
                    at,
                    "rename the feature",
                )
            )
        if feature.type == "enum" and len(set(feature.values)) != max(len(feature.values), 1):
            found.append(
                Problem(
                    "schema.invalid",
                    f"expected distinct values of an enum, got {list(feature.values)[:8]}",
                    at,
                )
            )
        if not 0 <= feature.scale <= 18:
            found.append(
                Problem("schema.invalid", f"expected a scale of 0 to 18, got {feature.scale}", at)
            )
    return found


def _read_source(document: bytes | str) -> tuple[str, Any]:
    """The text, and either the same text (IF/THEN form) or the JSON object it holds."""
    if len(document) > limits.MAX_SOURCE_BYTES:
        raise ProblemsError(
            [
                Problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_SOURCE_BYTES} bytes, got {len(document)}",
                )
            ]
        )
    if isinstance(document, bytes):
        try:
            text = document.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ProblemsError(
                [
                    Problem(
                        "rule.syntax", "expected UTF-8 text, got other bytes", f"byte {error.start}"
                    )
                ]
            ) from None
    else:
        text = document
    start = text.lstrip()[:1]
    if start and start in "{[":
        try:
            return text, load_json(text)
        except ProblemsError as error:
            raise ProblemsError(error.problems, source=text) from None
    return text, text
