"""JSON form to AST: the react-querybuilder RulesEngine shape in our envelope.

Nothing is dropped or repaired: an unknown key, operator or combinator is a problem, and every
problem of a document is reported together with its path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compiler.errors import Problem, ProblemsError
from compiler.rules import ast, limits
from compiler.rules.names import output_features
from compiler.rules.parse_condition import ConditionParser
from compiler.rules.parse_consequent import parse_consequent
from compiler.schema import FeatureMap, OutputSchema

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_NAME = "interlock/rules/v1"
_KEYS = frozenset(
    {
        "$schema",
        "id",
        "revision",
        "kind",
        "description",
        "features",
        "output",
        "evaluationMode",
        "onUnknown",
        "conditions",
        "defaultConsequent",
    }
)


class Document(Struct, frozen=True):
    """A parsed envelope: the table and what it declares about its inputs."""

    table: ast.Table
    features: FeatureMap
    output: OutputSchema | None = None


def parse_document(
    data: Any,
    *,
    kind: str | None = None,
    features: FeatureMap | None = None,
    output: OutputSchema | None = None,
) -> Document:
    """AST of an envelope given as plain data.

    Args:
        data: the decoded JSON object.
        kind: what the caller needs; a document of the other kind is a problem.
        features: what conditions in CEL may name besides the envelope's own; these win.
        output: what the models answer, for CEL in a decision table; wins over the envelope's.

    Raises:
        ProblemsError: every problem of the document.
    """
    found, problems = read_document(data, kind=kind, features=features, output=output)
    if problems:
        raise ProblemsError(problems)
    return found


def read_document(
    data: Any,
    *,
    kind: str | None = None,
    features: FeatureMap | None = None,
    output: OutputSchema | None = None,
) -> tuple[Document, list[Problem]]:
    """What can be read of an envelope, and its problems; with none the table is whole.

    Raises:
        ProblemsError: not an object.
    """
    problems: list[Problem] = []
    report = problems.append
    if not isinstance(data, dict):
        raise ProblemsError(
            [Problem("rule.shape", f"expected a rule table object, got {word_of(data)}", "$")]
        )
    for key in data:
        if key not in _KEYS:
            report(
                Problem(
                    "rule.unknown_key",
                    f"expected a key of the envelope, got {key!r}",
                    f"$.{key}",
                    _close(key),
                )
            )
    _expect(data, "$schema", (SCHEMA_NAME,), report)
    _expect(data, "evaluationMode", ("cascade",), report)
    _expect(data, "kind", ("routing", "decision"), report)
    found_kind = data.get("kind", kind or "routing")
    if kind is not None and found_kind != kind:
        report(Problem("rule.kind", f"expected a table of kind {kind}, got {found_kind}", "$.kind"))
    own: FeatureMap = _typed(data.get("features", {}), FeatureMap, "$.features", report) or {}
    own_output: OutputSchema | None = (
        _typed(data["output"], OutputSchema, "$.output", report) if "output" in data else None
    )
    scope = {**own, **(features or {})}
    if found_kind == "decision":
        scope.update(output_features(output or own_output))
    parser = ConditionParser(report, scope)
    if "defaultConsequent" not in data:
        report(
            Problem(
                "rule.no_default",
                "expected `defaultConsequent`, got none",
                "$",
                "say what answers when no rule fires",
            )
        )
    reader = _Cascade(parser, report, found_kind)
    rules = reader.rules(data.get("conditions"), "$.conditions", 1)
    default = reader.default(data.get("defaultConsequent", _NONE), "$.defaultConsequent")
    name = data.get("id", "")
    if not isinstance(name, str):
        report(Problem("rule.shape", f"expected a text id, got {word_of(name)}", "$.id"))
    revision = data.get("revision")
    if revision is not None and not _whole(revision):
        message = f"expected a whole number from 0, got {word_of(revision)}"
        report(Problem("rule.shape", message, "$.revision"))
    description = _description(data, "$", report)
    on_unknown = reader.on_unknown(data.get("onUnknown", "fallthrough"))
    if default is None:
        default = ast.RejectConsequent()  # its problem was reported
    table = ast.Table(rules, default, found_kind, on_unknown, name, revision, description)
    return Document(table, own, own_output), problems


class _Cascade:
    """Reads conditions with their consequents, nested ones included."""

    def __init__(
        self, parser: ConditionParser, report: Callable[[Problem], None], kind: str
    ) -> None:
        self.parser, self.report, self.kind = parser, report, kind

    def rules(self, data: Any, at: str, depth: int) -> tuple[ast.Rule, ...]:
        if not isinstance(data, list):
            self.report(Problem("rule.shape", f"expected a list of rules, got {word_of(data)}", at))
            return ()
        if len(data) > limits.MAX_RULES:
            self.report(
                Problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_RULES} rules, got {len(data)}",
                    at,
                )
            )
            return ()
        found = (self.rule(item, f"{at}[{i}]", i, depth) for i, item in enumerate(data))
        return tuple(rule for rule in found if rule is not None)

    def rule(self, data: Any, at: str, index: int, depth: int) -> ast.Rule | None:
        if not isinstance(data, dict):
            self.report(Problem("rule.shape", f"expected a rule object, got {word_of(data)}", at))
            return None
        for key in data:
            if key not in ("id", "antecedent", "consequent", "description"):
                self.report(
                    Problem(
                        "rule.unknown_key",
                        f"expected id, antecedent, consequent or description, got {key!r}",
                        f"{at}.{key}",
                    )
                )
        for key in ("antecedent", "consequent"):
            if key not in data:
                self.report(Problem("rule.shape", f"expected `{key}`, got none", at))
        condition = (
            self.parser.condition(data["antecedent"], f"{at}.antecedent")
            if "antecedent" in data
            else None
        )
        consequent = (
            self.consequent(data["consequent"], f"{at}.consequent", depth)
            if "consequent" in data
            else None
        )
        description = _description(data, at, self.report)
        name = data.get("id", f"rule{index + 1}")
        if not isinstance(name, str):
            self.report(
                Problem("rule.shape", f"expected a text id, got {word_of(name)}", f"{at}.id")
            )
            return None
        if condition is None or consequent is None:
            return None
        return ast.Rule(name, condition, consequent, at, description)

    def default(self, data: Any, at: str) -> ast.LeafConsequent | None:
        if data is _NONE:
            return None  # reported by the caller
        if isinstance(data, dict) and data.get("type") == "rules":
            self.report(
                Problem(
                    "rule.consequent",
                    "expected a model, split, reject or decision as default, got nested rules",
                    at,
                    "append the nested rules to `conditions`",
                )
            )
            return None
        return parse_consequent(data, at, self.kind, self.report)

    def consequent(self, data: Any, at: str, depth: int) -> ast.Consequent | None:
        if isinstance(data, dict) and data.get("type") == "rules":
            return self.nested(data, at, depth)
        return parse_consequent(data, at, self.kind, self.report)

    def nested(self, data: dict[str, Any], at: str, depth: int) -> ast.Consequent | None:
        if depth >= limits.MAX_CASCADE_DEPTH:
            self.report(
                Problem(
                    "rule.too_deep",
                    f"expected at most {limits.MAX_CASCADE_DEPTH} nested cascades, got more",
                    at,
                )
            )
            return None
        for key in data:
            if key not in ("type", "conditions", "defaultConsequent"):
                self.report(
                    Problem(
                        "rule.unknown_key",
                        f"expected conditions or defaultConsequent, got {key!r}",
                        f"{at}.{key}",
                    )
                )
        if "defaultConsequent" not in data:
            self.report(Problem("rule.no_default", "expected `defaultConsequent`, got none", at))
            return None
        rules = self.rules(data.get("conditions"), f"{at}.conditions", depth + 1)
        default = self.default(data["defaultConsequent"], f"{at}.defaultConsequent")
        return None if default is None else ast.RulesConsequent(rules, default, at)

    def on_unknown(self, data: Any) -> Any:
        if data in ("fallthrough", "error"):
            return data
        if isinstance(data, dict) and set(data) == {"consequent"}:
            found = parse_consequent(
                data["consequent"], "$.onUnknown.consequent", self.kind, self.report
            )
            return found if found is not None else "fallthrough"
        self.report(
            Problem(
                "rule.on_unknown",
                f'expected fallthrough, error or {{"consequent": ...}}, got {word_of(data)}',
                "$.onUnknown",
            )
        )
        return "fallthrough"


_NONE: Any = object()
"""Stands for a key that is not there."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18


def _description(data: dict[str, Any], at: str, report: Callable[[Problem], None]) -> str:
    found = data.get("description", "")
    if isinstance(found, str) and len(found) <= limits.MAX_STRING:
        return found
    message = f"expected a text of at most {limits.MAX_STRING} characters, got {word_of(found)}"
    report(Problem("rule.shape", message, f"{at}.description"))
    return ""


def word_of(value: Any) -> str:
    """A JSON value in a few words, for messages."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _expect(
    data: dict[str, Any], key: str, allowed: tuple[str, ...], report: Callable[[Problem], None]
) -> None:
    if key in data and data[key] not in allowed:
        report(
            Problem(
                "rule.shape",
                f"expected {' or '.join(allowed)}, got {word_of(data[key])}",
                f"$.{key}",
            )
        )


def _typed(data: Any, kind: Any, at: str, report: Callable[[Problem], None]) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        message, _, path = text.partition(" - at `$")
        report(
            Problem(
                "schema.invalid",
                message[0].lower() + message[1:],
                at + path.rstrip("`"),
                _later(data),
            )
        )
        return None


def _later(data: Any) -> str:
    if isinstance(data, dict):
        for feature in data.values():
            word = feature.get("type") if isinstance(feature, dict) else None
            if word in ("semver", "list", "duration", "cidr"):
                return f"features of type {word} come later"
    return ""


def _close(key: str) -> str:
    from compiler.rules.names import suggestion

    return suggestion(key, _KEYS)
