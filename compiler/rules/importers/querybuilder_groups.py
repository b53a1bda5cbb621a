"""Groups and rules of react-querybuilder as conditions of the JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules import limits
from compiler.rules.importers.conditions import FALSE, Condition, both, either, leaf, negated
from compiler.rules.importers.querybuilder_values import PLACEHOLDER, ValueReader
from compiler.rules.importers.report import RefusedError, Report, refuse
from compiler.rules.names import suggestion

if TYPE_CHECKING:
    from compiler.schema import Feature, FeatureMap

_TEXT = (
    "contains",
    "beginsWith",
    "endsWith",
    "doesNotContain",
    "doesNotBeginWith",
    "doesNotEndWith",
)
_COMPARE = ("=", "!=", "<", ">", "<=", ">=")
OPERATORS = (*_COMPARE, *_TEXT, "null", "notNull", "in", "notIn", "between", "notBetween")
_NEGATIVE = frozenset({"!=", "notIn", "notBetween", *_TEXT[3:]})
_RULE_KEYS = frozenset(
    {"id", "path", "field", "operator", "value", "valueSource", "disabled", "muted"}
)
_GROUP_KEYS = frozenset({"id", "path", "combinator", "not", "rules", "disabled", "muted"})


class GroupReader:
    """Reads groups; reasons to refuse are all noted."""

    def __init__(self, features: FeatureMap, report: Report) -> None:
        self.features, self.report = features, report
        self.values = ValueReader(report)

    def condition(self, node: Any, at: str) -> Condition:
        """A whole antecedent.

        Raises:
            RefusedError: nothing is left of it.
        """
        found = self.part(node, at, 1)
        if found is None:
            refuse(
                "querybuilder.empty", "expected a condition, got one that is muted altogether", at
            )
        return found

    def part(self, node: Any, at: str, depth: int) -> Condition | None:
        """A group or rule; None where it is muted."""
        if not isinstance(node, dict):
            refuse("querybuilder.shape", "expected a rule or group, got another value", at)
        if depth > limits.MAX_DEPTH:
            refuse("rule.too_deep", f"expected at most {limits.MAX_DEPTH} levels, got more", at)
        if node.get("muted"):
            self.report.differs("querybuilder.muted", "a muted part is left out", at)
            return None
        if node.get("disabled"):
            self.report.differs(
                "querybuilder.disabled",
                "a disabled part stays in force: the word only stops editing",
                at,
            )
        group = "rules" in node
        for key in sorted(set(node) - (_GROUP_KEYS if group else _RULE_KEYS)):
            if key in ("match", "lhs"):
                refuse(
                    "querybuilder.unsupported",
                    f"expected no {key}, got one",
                    f"{at}.{key}",
                    "lists and computed left sides are not imported",
                )
            self.report.differs("querybuilder.key", f"the key {key} is left out", f"{at}.{key}")
        return self.group(node, at, depth) if group else self.rule(node, at)

    # groups -----------------------------------------------------------------------------------

    def group(self, node: dict[str, Any], at: str, depth: int) -> Condition | None:
        """A group with one combinator, or with independent ones between its parts."""
        rules = node["rules"]
        if not isinstance(rules, list):
            refuse(
                "querybuilder.shape", "expected a list of rules, got another value", f"{at}.rules"
            )
        if not rules:
            refuse(
                "querybuilder.empty",
                "expected at least one rule, got an empty group",
                at,
                "exports of react-querybuilder disagree on whether it is true or false",
            )
        word = node.get("combinator")
        if word is None and "combinator" not in node:
            found = self.independent(rules, f"{at}.rules", depth)
        else:
            if not isinstance(word, str) or word.lower() not in ("and", "or", "xor"):
                refuse(
                    "querybuilder.combinator",
                    f"expected and, or or xor, got {word!r}",
                    f"{at}.combinator",
                )
            parts = self.parts(rules, f"{at}.rules", depth)
            found = _joined(word.lower(), parts) if parts else None
        if found is None:
            return None
        if node.get("not") and self.nullable(found):
            self.missing_note(at)
        return negated(found) if node.get("not") else found

    def parts(self, rules: list[Any], at: str, depth: int, step: int = 1) -> list[Condition]:
        """Parts that are not muted; a faulty one is noted, and FALSE."""
        found = []
        for i in range(0, len(rules), step):
            try:
                part = self.part(rules[i], f"{at}[{i}]", depth + 1)
            except RefusedError as error:
                self.report.refusals.append(error.problem)
                part = FALSE
            if part is not None:
                found.append(part)
        return found

    def independent(self, rules: list[Any], at: str, depth: int) -> Condition | None:
        """``[rule, "and", rule, "or", rule]``: and binds tightest, then xor, then or."""
        words = rules[1::2]
        if len(rules) % 2 == 0 or any(
            not isinstance(word, str) or word.lower() not in ("and", "or", "xor") for word in words
        ):
            refuse(
                "querybuilder.combinator",
                "expected rules with and, or or xor between them, got others",
                at,
            )
        if any(isinstance(rule, dict) and rule.get("muted") for rule in rules[::2]):
            refuse(
                "querybuilder.muted",
                "expected no muted part between independent combinators, got one",
                at,
                "remove it, so that it is clear which combinator goes with it",
            )
        words = [word.lower() for word in words]
        if len(set(words)) > 1:
            self.report.differs(
                "querybuilder.precedence", "and binds tighter than xor, xor tighter than or", at
            )
        parts = self.parts(rules, at, depth, step=2)
        if len(parts) <= len(words):
            refuse(
                "querybuilder.muted",
                "expected parts in force between independent combinators, got a group muted whole",
                at,
            )
        for word in ("and", "xor", "or"):
            parts, words = _collapsed(word, parts, words)
        return parts[0]

    # rules ------------------------------------------------------------------------------------

    def rule(self, node: dict[str, Any], at: str) -> Condition:
        """One rule."""
        name, op = node.get("field"), node.get("operator")
        if PLACEHOLDER in (name, op):
            refuse(
                "querybuilder.placeholder",
                "expected a field and an operator, got the placeholder ~",
                at,
            )
        feature = self.feature(name, f"{at}.field")
        if op not in OPERATORS:
            refuse(
                "querybuilder.operator",
                f"expected an operator of react-querybuilder, got {op!r}",
                f"{at}.operator",
                suggestion(str(op), OPERATORS),
            )
        assert isinstance(name, str)
        assert isinstance(op, str)
        if op in ("null", "notNull"):
            return leaf(name, op)
        if feature.nullable and op in _NEGATIVE:
            self.missing_note(at)
        if op in _TEXT:
            self.report.differs(
                "querybuilder.case", "texts are compared with their case; databases may fold it", at
            )
        if "value" not in node:
            refuse("querybuilder.value", f"expected a value for {op}, got none", at)
        source = node.get("valueSource", "value") or "value"
        if source == "field":
            return self.against_field(name, op, node["value"], f"{at}.value")
        if source != "value":
            refuse(
                "querybuilder.unsupported",
                f"expected a value or a field, got a {source}",
                f"{at}.valueSource",
            )
        return self.against_value(name, feature, op, node["value"], f"{at}.value")

    def feature(self, name: Any, at: str) -> Feature:
        """Declaration of a field."""
        if not isinstance(name, str) or name not in self.features:
            refuse(
                "rule.unknown_feature",
                f"expected a declared feature, got {str(name)[:40]!r}",
                at,
                suggestion(str(name), self.features) or "give its type with a schema",
            )
        return self.features[name]

    def against_value(self, name: str, feature: Feature, op: str, value: Any, at: str) -> Condition:
        """A rule whose right side is literal."""
        if op in ("in", "notIn", "between", "notBetween"):
            values = [
                self.values.plain(item, name, feature, at) for item in self.values.many(value, at)
            ]
            if op in ("in", "notIn"):
                return leaf(name, op, values)
            if len(values) != 2:
                refuse("querybuilder.value", f"expected two bounds for {op}, got {len(values)}", at)
            if type(values[0]) is type(values[1]) and values[0] > values[1]:
                self.report.differs(
                    "querybuilder.bounds", f"the bounds of {name} are swapped, as exports do", at
                )
                values.reverse()
            return leaf(name, op, values)
        if op in _TEXT:
            if not isinstance(value, str):
                refuse("querybuilder.value", f"expected a text for {op}, got another value", at)
            return leaf(name, op, value)
        return leaf(name, op, self.values.plain(value, name, feature, at))

    def against_field(self, name: str, op: str, value: Any, at: str) -> Condition:
        """A rule whose right side is another field, or a list of fields."""
        if op in ("in", "notIn", "between", "notBetween"):
            others = self.values.many(value, at)
            for other in others:
                self.feature(other, at)
            if op.lower().endswith("between"):
                if len(others) != 2:
                    refuse(
                        "querybuilder.value", f"expected two bounds for {op}, got {len(others)}", at
                    )
                found = both(_field(name, ">=", others[0]), _field(name, "<=", others[1]))
            elif others:
                found = either(*(_field(name, "=", other) for other in others))
            else:
                refuse("querybuilder.value", "expected at least one field, got none", at)
            return negated(found) if op.startswith("not") else found
        if op in _TEXT:
            refuse("querybuilder.unsupported", f"expected a literal text for {op}, got a field", at)
        self.feature(value, at)
        return _field(name, op, value)

    def nullable(self, condition: Condition) -> bool:
        """Whether a condition can be UNKNOWN for a missing value."""
        if "rules" in condition:
            return any(self.nullable(part) for part in condition["rules"])
        if condition["operator"] in ("null", "notNull"):
            return False
        names = [condition["field"]]
        if condition.get("valueSource") == "field":
            names.append(condition["value"])
        return any(self.features[name].nullable for name in names)

    def missing_note(self, at: str) -> None:
        """Negations of missing values differ from target to target."""
        self.report.differs(
            "querybuilder.missing",
            "a negated test of a missing value is UNKNOWN and does not fire, as in SQL; "
            "the native and JavaScript targets answer true",
            at,
        )


def _field(name: str, op: str, other: str) -> Condition:
    return leaf(name, op, other, valueSource="field")


def _joined(word: str, parts: list[Condition]) -> Condition:
    if word == "xor":
        return parts[0] if len(parts) == 1 else {"combinator": "xor", "rules": parts}
    return both(*parts) if word == "and" else either(*parts)


def _collapsed(
    word: str, parts: list[Condition], words: list[str]
) -> tuple[list[Condition], list[str]]:
    """The list with every run of one combinator put into a group."""
    runs: list[list[Condition]] = [[parts[0]]]
    kept: list[str] = []
    for between, part in zip(words, parts[1:], strict=True):
        if between == word:
            runs[-1].append(part)
        else:
            kept.append(between)
            runs.append([part])
    return [_joined(word, run) if len(run) > 1 else run[0] for run in runs], kept
