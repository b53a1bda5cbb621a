"""Tests that cells cannot decide, as names: what makes a proof possible beside them.

Arithmetic, two features, text search and the clock have no cells. Each such test becomes a free
name that may be TRUE, FALSE or (where a value may be missing) UNKNOWN, the same name in both
tables. Tables that agree for every value of every name agree on every request; the reverse does not
hold, because two names may never be true together.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.analyse.cells import is_residual
from compiler.rules.places import without_places
from compiler.schema import Feature, FeatureMap

_TRUE = ast.Const(value=True)
_NEGATIVE_PRESENCE: dict[str, ast.PresenceOp] = {"notNull": "null", "isNotEmpty": "isEmpty"}


class Atoms:
    """Names of the tests that have no cells.

    Attributes:
        features: a feature per name, to be added to the scope.
        tests: the test behind each name, and whether it was first seen as its opposite.

    Args:
        scope: features of both tables.
    """

    def __init__(self, scope: FeatureMap) -> None:
        self.scope = scope
        self.features: FeatureMap = {}
        self.tests: dict[str, tuple[ast.Leaf, bool]] = {}
        self._names: dict[ast.Leaf, str] = {}

    def condition(self, node: ast.Condition) -> ast.Condition:
        """The condition with a name for each test that has no cells."""
        match node:
            case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
                return replace(node, of=tuple(self.condition(part) for part in parts))
            case ast.Not(of=part):
                return ast.Not(self.condition(part))
        if not is_residual(node) or self._enumerated(node):
            return node
        test, negated = _normal(without_places(node))
        if test not in self._names:
            name = f"test_{len(self._names)}_"
            while name in self.scope:
                name += "_"
            self._names[test] = name
            self.tests[name] = (node, negated)
            self.features[name] = Feature("bool", nullable=self._may_miss(test))
        named = ast.Compare(ast.Field(self._names[test]), "=", _TRUE)
        return ast.Not(named) if negated else named

    def cascade(self, rules: tuple[ast.Rule, ...]) -> tuple[ast.Rule, ...]:
        """Rules with named tests, nested ones included."""
        found = []
        for rule in rules:
            inner = rule.consequent
            if isinstance(inner, ast.RulesConsequent):
                inner = replace(inner, rules=self.cascade(inner.rules))
            found.append(replace(rule, condition=self.condition(rule.condition), consequent=inner))
        return tuple(found)

    def _enumerated(self, node: ast.Leaf) -> bool:
        """Whether all values of the feature are among its cells, so that any test is decided."""
        operand = getattr(node, "operand", None)
        return isinstance(operand, ast.Field) and self.scope[operand.name].type == "enum"

    def _may_miss(self, test: ast.Leaf) -> bool:
        if isinstance(test, ast.Distinct):
            return False
        if isinstance(test, ast.Presence) and test.op in {"null", "isNaN"}:
            return False
        if isinstance(test, ast.Compare):
            return self._absent(test.left) or self._absent(test.right)
        operand = getattr(test, "operand", None)
        return operand is None or self._absent(operand)

    def _absent(self, operand: ast.Operand) -> bool:
        if isinstance(operand, ast.Field):
            feature = self.scope[operand.name]
            return feature.nullable and feature.default is None
        return isinstance(operand, ast.Arith)  # a division by zero is MISSING


def _normal(leaf: Any) -> tuple[ast.Leaf, bool]:
    """One form for a test and its opposite, and whether this is the opposite.

    NOT keeps UNKNOWN, so ``a > b`` is NOT ``a <= b`` for every value, missing ones included.
    """
    match leaf:
        case ast.Compare(left=left, op="!=", right=right):
            return ast.Compare(*_sorted(left, right)), True
        case ast.Compare(left=left, op="=", right=right):
            return ast.Compare(*_sorted(left, right)), False
        case ast.Compare(left=left, op=">", right=right):
            return ast.Compare(left, "<=", right), True
        case ast.Compare(left=left, op="<", right=right):
            return ast.Compare(right, "<=", left), True
        case ast.Compare(left=left, op=">=", right=right):
            return ast.Compare(right, "<=", left), False
        case ast.Presence(op=op) if op in _NEGATIVE_PRESENCE:
            plain = replace(leaf, op=_NEGATIVE_PRESENCE[op], negated=False)
            return plain, not leaf.negated
    if getattr(leaf, "negated", False):
        return replace(leaf, negated=False), True
    return leaf, False


def _sorted(left: ast.Operand, right: ast.Operand) -> tuple[ast.Operand, Any, ast.Operand]:
    first, second = sorted((left, right), key=repr)
    return first, "=", second
