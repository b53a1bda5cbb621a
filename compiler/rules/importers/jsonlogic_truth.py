"""JsonLogic expressions in the place of a condition: only whether they are truthy counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules import limits
from compiler.rules.importers.conditions import (
    FALSE,
    TRUE,
    Condition,
    both,
    either,
    negated,
)
from compiler.rules.importers.jsonlogic_terms import TermReader, Var, operation
from compiler.rules.importers.jsonlogic_tests import MIRROR, TestBuilder
from compiler.rules.importers.report import RefusedError, Report, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.schema import Feature

BOOLEAN = frozenset({*MIRROR, "!", "!!", "in"})
"""Operators whose value is true or false, nothing else."""
_WHY = {
    "all": "lists are not among the feature types",
    "some": "lists are not among the feature types",
    "none": "lists are not among the feature types",
    "map": "lists are not among the feature types",
    "filter": "lists are not among the feature types",
    "reduce": "lists are not among the feature types",
    "merge": "lists are not among the feature types",
    "cat": "texts are not put together in conditions",
    "substr": "texts are not cut in conditions",
    "%": "the rule language has no remainder",
    "log": "conditions have no side effects",
    "method": "conditions call no methods",
    "throw": "conditions raise no errors",
    "try": "conditions catch no errors",
    "exists": "an explicit null and an absent value are one state here",
    "preserve": "conditions hold no data structures",
}


class TruthReader:
    """Reads conditions, and notes every reason to refuse."""

    def __init__(self, features: Mapping[str, Feature], report: Report) -> None:
        self.terms = TermReader(features, report)
        self.tests = TestBuilder(report)
        self.report = report

    def truth(self, node: Any, at: str, depth: int = 1) -> Condition:
        """Condition that is TRUE where the node is truthy and FALSE elsewhere."""
        if depth > limits.MAX_DEPTH:
            refuse("rule.too_deep", f"expected at most {limits.MAX_DEPTH} levels, got more", at)
        term = self.terms.term(node, at)
        if term is not None:
            return self.tests.truth(term, at)
        found = operation(node, at)
        assert found is not None
        name, args = found
        place = f"{at}.{name}"
        if name in ("and", "or"):
            if not args:
                refuse("jsonlogic.arguments", f"expected parts of {name}, got none", place)
            parts = self.parts(args, place, depth)
            return both(*parts) if name == "and" else either(*parts)
        if name in ("!", "!!"):
            if len(args) != 1:
                refuse(
                    "jsonlogic.arguments",
                    f"expected one argument of {name}, got {len(args)}",
                    place,
                )
            inner = self.truth(args[0], f"{place}[0]", depth + 1)
            return negated(inner) if name == "!" else inner
        if name in ("if", "?:"):
            return self.choice(args, place, depth)
        if name in MIRROR:
            return self.comparison(name, args, place, depth)
        if name == "in":
            return self.member(args, place)
        if name in ("missing", "missing_some"):
            return self.missing(name, args, place)
        return refuse(
            "jsonlogic.operator",
            f"expected an operator that conditions have, got {name[:40]!r}",
            place,
            _WHY.get(name, ""),
        )

    def parts(self, args: list[Any], at: str, depth: int) -> list[Condition]:
        """Conditions of several parts; the reasons to refuse them are all noted."""
        found = []
        for i, arg in enumerate(args):
            try:
                found.append(self.truth(arg, f"{at}[{i}]", depth + 1))
            except RefusedError as error:
                self.report.refusals.append(error.problem)
                found.append(TRUE)
        return found

    def choice(self, args: list[Any], at: str, depth: int) -> Condition:
        """``if`` chains inside a condition."""
        if not args:
            return FALSE
        parts = self.parts(args, at, depth)
        result = parts[-1] if len(parts) % 2 else FALSE
        for place in range(len(parts) - 2 - len(parts) % 2, -1, -2):
            test, then = parts[place], parts[place + 1]
            result = either(both(test, then), both(negated(test), result))
        return result

    def comparison(self, op: str, args: list[Any], at: str, depth: int) -> Condition:
        """``== === != !== < <= > >=``; the orders also between two bounds."""
        if len(args) == 3 and op in ("<", "<="):
            return both(
                self.pair(op, args[0], args[1], at, depth),
                self.pair(op, args[1], args[2], at, depth),
            )
        if len(args) != 2:
            refuse(
                "jsonlogic.arguments",
                f"expected two arguments of {op}, got {len(args)}",
                at,
                "dialects differ on other numbers",
            )
        return self.pair(op, args[0], args[1], at, depth)

    def pair(self, op: str, left: Any, right: Any, at: str, depth: int) -> Condition:
        """A comparison of two operands, one of which may be a condition."""
        first, second = self.terms.term(left, f"{at}[0]"), self.terms.term(right, f"{at}[1]")
        if first is not None and second is not None:
            return self.tests.compare(op, first, second, at)
        for node, other in ((left, right), (right, left)):
            if isinstance(other, bool) and self.boolean(node) and op in ("==", "===", "!=", "!=="):
                test = self.truth(node, at, depth + 1)
                return test if other == (op in ("==", "===")) else negated(test)
        return refuse(
            "jsonlogic.operator",
            "expected variables, literals or arithmetic to compare, got another operation",
            at,
            "compare a condition only with true or false",
        )

    def boolean(self, node: Any) -> bool:
        """Whether a node's value is true or false whatever the row."""
        if isinstance(node, bool):
            return True
        if not isinstance(node, dict) or len(node) != 1:
            return False
        ((name, args),) = node.items()
        args = args if isinstance(args, list) else [args]
        if name in ("and", "or"):
            return bool(args) and all(self.boolean(arg) for arg in args)
        if name == "var" and len(args) == 1:
            feature = self.terms.features.get(args[0]) if isinstance(args[0], str) else None
            return feature is not None and feature.type == "bool" and not feature.nullable
        return name in BOOLEAN

    def member(self, args: list[Any], at: str) -> Condition:
        """``in``."""
        if len(args) != 2:
            refuse("jsonlogic.arguments", f"expected two arguments of in, got {len(args)}", at)
        needle = self.terms.term(args[0], f"{at}[0]")
        group = args[1] if isinstance(args[1], list) else self.terms.term(args[1], f"{at}[1]")
        if needle is None or group is None:
            refuse(
                "jsonlogic.operator", "expected a value and a list or text, got an operation", at
            )
        return self.tests.contained(needle, group, at)

    def missing(self, name: str, args: list[Any], at: str) -> Condition:
        """``missing`` and ``missing_some`` where only an empty or full list matters."""
        names, need = args, 0
        if name == "missing_some":
            sound = len(args) == 2 and isinstance(args[0], int) and isinstance(args[1], list)
            if not sound or isinstance(args[0], bool):
                refuse(
                    "jsonlogic.arguments", "expected a count and a list of names, got others", at
                )
            need, names = args[0], args[1]
        elif len(args) == 1 and isinstance(args[0], list):
            names = args[0]
        if not names or not all(isinstance(item, str) for item in names):
            refuse("jsonlogic.arguments", "expected literal names, got others", at)
        absent = [self.tests.absent(Var(item, self.terms.feature(item, at), at)) for item in names]
        if name == "missing" or need == len(names):
            return either(*absent)
        if need == 1:
            return both(*absent)
        return refuse(
            "jsonlogic.operator",
            f"expected missing_some of 1 or all {len(names)} names, got {need}",
            at,
        )
