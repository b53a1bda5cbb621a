"""Names and types against the features; literals normalised; every problem of a table together."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from compiler.errors import Problem
from compiler.rules import ast, limits, literals
from compiler.rules.lex import MAX_PROBLEMS
from compiler.rules.literals import FAMILY, ORDERED, LiteralError
from compiler.rules.names import RESERVED_IDS, RULE_ID, canonical_name, suggestion
from compiler.schema import Feature, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = Feature(type="float")
_TIME = Feature(type="timestamp")
_MIRROR: dict[ast.CompareOp, ast.CompareOp] = {
    "=": "=",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_table(table: ast.Table, features: FeatureMap) -> tuple[ast.Table, list[Problem]]:
    """Typed table with normalised literals, and what is wrong in document order."""
    checker = Checker(features)
    checked = replace(
        table,
        rules=checker.rules(table.rules),
        default=checker.consequent(table.default),
    )
    return checked, checker.problems


class Checker:
    """Checks conditions against features; a faulty leaf is replaced by TRUE and reported."""

    def __init__(self, features: FeatureMap) -> None:
        self.features = features
        self.problems: list[Problem] = []

    def rules(self, rules: tuple[ast.Rule, ...]) -> tuple[ast.Rule, ...]:
        """Rules of one cascade; ids are unique within it."""
        seen: set[str] = set()
        found = []
        for rule in rules:
            self._id(rule, seen)
            found.append(
                replace(
                    rule,
                    condition=self.condition(rule.condition),
                    consequent=self.consequent(rule.consequent),
                )
            )
        return tuple(found)

    def consequent(self, found: ast.Consequent) -> ast.Consequent:
        """Nested cascades are checked; a split's unit must be a name that exists."""
        if isinstance(found, ast.RulesConsequent):
            return replace(
                found, rules=self.rules(found.rules), default=self.consequent(found.default)
            )
        if isinstance(found, ast.SplitConsequent) and found.unit not in ("split_id", "subject"):
            feature = self.features.get(found.unit)
            if feature is None:
                self._report(
                    "rule.unknown_feature",
                    f"expected split_id, subject or a feature, got {found.unit!r}",
                    found.at,
                    suggestion(found.unit, self.features),
                )
            elif feature.type not in ("string", "enum", "int"):
                self._report(
                    "rule.type_mismatch",
                    f"expected a text or int as unit of a split, got {feature.type}",
                    found.at,
                )
        return found

    def condition(self, node: ast.Condition) -> ast.Condition:
        """The condition with names resolved and literals in their domains."""
        match node:
            case ast.And() | ast.Or() | ast.Xor():
                return replace(node, of=tuple(self.condition(part) for part in node.of))
            case ast.Not():
                return replace(node, of=self.condition(node.of))
            case ast.Truth() | ast.Known():
                return node
        try:
            return self._leaf(node)
        except LiteralError as error:
            self._report(
                error.code, f"{error.message} (condition on {describe(node)})", node.at, error.hint
            )
        except _NameProblem:
            pass
        return ast.Truth(True, node.at)

    def _leaf(self, node: Any) -> ast.Condition:
        match node:
            case ast.Compare():
                return self._compare(node)
            case ast.Distinct():
                return self._distinct(node)
        operand, feature = self._operand(node.operand)
        family = FAMILY[feature.type]
        node = replace(node, operand=operand)
        match node:
            case ast.In():
                values = literals.members(feature, node.values)
                return (
                    replace(node, values=values)
                    if values
                    else ast.Known(operand, node.negated, node.at)
                )
            case ast.Between():
                return self._between(node, feature)
            case ast.Text():
                _require(family == "text", "a text feature", feature)
                if node.op == "matches":
                    problem = limits.regex_problem(node.value)
                    if problem:
                        raise LiteralError(
                            "rule.regex", problem, "use contains, or a simpler pattern"
                        )
                return node
            case ast.Within():
                _require(family == "timestamp", "a timestamp feature", feature)
                return node
            case _:
                if node.op in ("isEmpty", "isNotEmpty"):
                    _require(family == "text", "a text feature", feature)
                if node.op == "isNaN":
                    fits = feature.type in ("float", "float32") and isinstance(operand, ast.Field)
                    _require(fits, "a float feature", feature)
                return node  # type: ignore[no-any-return]

    def _compare(self, node: ast.Compare) -> ast.Condition:
        left, op, right = node.left, node.op, node.right
        if isinstance(left, ast.Const) and isinstance(right, ast.Const):
            return self._constant(left.value, op, right.value, node.at)
        if isinstance(left, ast.Const):
            left, op, right = right, _MIRROR[op], left
        operand, feature = self._operand(left)
        if op not in ("=", "!="):
            _require(FAMILY[feature.type] in ORDERED, "a feature with an order", feature)
        if isinstance(right, ast.Const):
            return literals.compare(operand, feature, op, right.value, node.at)
        other, other_feature = self._operand(right)
        _same(feature, other_feature)
        return ast.Compare(operand, op, other, node.at)

    def _constant(self, left: Any, op: str, right: Any, at: str) -> ast.Condition:
        words = {literals.type_word(left), literals.type_word(right)}
        if len(words) > 1 or (op not in ("=", "!=") and words != {"number"}):
            raise LiteralError(
                "rule.type_mismatch", f"expected two numbers, got {left!r} and {right!r}"
            )
        return ast.Truth(bool(_PYTHON[op](left, right)), at)

    def _distinct(self, node: ast.Distinct) -> ast.Condition:
        left, right = node.left, node.right
        if isinstance(left, ast.Const):
            left, right = right, left
        operand, feature = self._operand(left)
        if isinstance(right, ast.Const):
            found = literals.compare(operand, feature, "=", right.value, node.at)
            if isinstance(found, ast.Known):
                return ast.Truth(not node.negated, node.at)
            return replace(node, left=operand, right=found.right)
        other, other_feature = self._operand(right)
        _same(feature, other_feature)
        return replace(node, left=operand, right=other)

    def _between(self, node: ast.Between, feature: Feature) -> ast.Condition:
        _require(FAMILY[feature.type] in ORDERED, "a feature with an order", feature)
        low = literals.compare(node.operand, feature, ">=", node.low, node.at)
        high = literals.compare(node.operand, feature, "<=", node.high, node.at)
        if literals.reversed_bounds(feature, node.low, node.high):
            raise LiteralError(
                "rule.bounds",
                f"expected the lower bound first, got {node.low!r} and {node.high!r}",
                "swap the bounds",
            )
        parts = [part for part in (low, high) if isinstance(part, ast.Compare)]
        if any(isinstance(part, ast.Known) and not part.value for part in (low, high)):
            return ast.Known(node.operand, node.negated, node.at)
        ends: list[Any] = [part.right.value for part in parts]  # type: ignore[union-attr]
        if len(ends) == 2:
            if ends[0] > ends[1]:
                return ast.Known(node.operand, node.negated, node.at)
            return replace(node, low=ends[0], high=ends[1])
        if not parts:
            return ast.Known(node.operand, not node.negated, node.at)
        return ast.Not(parts[0], node.at) if node.negated else parts[0]

    def _operand(self, node: ast.Operand) -> tuple[ast.Operand, Feature]:
        match node:
            case ast.Field(name=name, at=at):
                name = canonical_name(name, self.features)
                feature = self.features.get(name)
                if feature is None:
                    few = len(self.problems) < MAX_PROBLEMS  # a hint compares with every name
                    hint = suggestion(name, self.features) if few else ""
                    hint = hint or _declared(self.features)
                    self._report(
                        "rule.unknown_feature",
                        f"expected a declared feature, got {name!r}",
                        at,
                        hint,
                    )
                    raise _NameProblem
                return ast.Field(name, at), feature
            case ast.Now():
                return node, _TIME
            case ast.Const(value=value):
                if literals.type_word(value) != "number":
                    raise LiteralError(
                        "rule.type_mismatch", f"expected a number or a feature, got {value!r}"
                    )
                return replace(node, value=literals.exact(_NUMBER, value)), _NUMBER
            case ast.Arith():
                return self._arith(node), _NUMBER

    def _arith(self, node: ast.Arith) -> ast.Arith:
        args = []
        for arg in node.args:
            found, feature = self._operand(arg)
            _require(
                FAMILY[feature.type] in ("number", "decimal"), "a number in arithmetic", feature
            )
            args.append(found)
        return replace(node, args=tuple(args))

    def _id(self, rule: ast.Rule, seen: set[str]) -> None:
        if rule.id in RESERVED_IDS:
            self._report(
                "rule.reserved_id",
                f"expected another id, got {rule.id!r}, which is reserved",
                rule.at,
                "rename the rule",
            )
        elif rule.id in seen:
            self._report(
                "rule.duplicate_id",
                f"expected ids that differ, got {rule.id!r} twice",
                rule.at,
                "rename one of the rules",
            )
        elif not RULE_ID.match(rule.id):
            self._report(
                "rule.id",
                f"expected an id of letters, digits, _ . : and -, got {rule.id[:40]!r}",
                rule.at,
            )
        seen.add(rule.id)

    def _report(self, code: str, message: str, at: str, hint: str = "") -> None:
        self.problems.append(Problem(code, message, at, hint))


class _NameProblem(Exception):  # noqa: N818 - a jump out of a leaf, already reported
    """An unknown name was reported."""


def _require(fits: bool, what: str, feature: Feature) -> None:
    if not fits:
        raise LiteralError("rule.type_mismatch", f"expected {what}, got {feature.type}")


def _same(left: Feature, right: Feature) -> None:
    same = FAMILY[left.type] == FAMILY[right.type]
    if not same or (left.type == "decimal" and left.scale != right.scale):
        raise LiteralError(
            "rule.type_mismatch",
            f"expected two features of one kind, got {left.type} and {right.type}",
            "compare like with like",
        )


def _declared(features: FeatureMap) -> str:
    if not features:
        return "declare it under `features`, or give a schema"
    names = ", ".join(list(features)[:8])
    return f"declared: {names}{', ...' if len(features) > 8 else ''}"


def describe(node: Any) -> str:
    """The features that a leaf reads, for messages."""
    return ", ".join(f"`{name}`" for name in field_names(node)) or "a constant"


def field_names(node: Any) -> tuple[str, ...]:
    """Names that a condition or operand reads, in order of first appearance."""
    found: dict[str, None] = {}
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.Field):
            found[item.name] = None
        elif isinstance(item, ast.And | ast.Or | ast.Xor):
            stack.extend(reversed(item.of))
        elif isinstance(item, ast.Arith):
            stack.extend(reversed(item.args))
        elif isinstance(item, ast.Not):
            stack.append(item.of)
        elif isinstance(item, ast.Compare | ast.Distinct):
            stack.extend((item.right, item.left))
        elif hasattr(item, "operand"):
            stack.append(item.operand)
    return tuple(found)
