"""JsonLogic rules to tables: ``if`` chains become cascades, their results models.

Nothing is dropped: an expression is imported with JsonLogic's own answer for every row the schema
allows, or refused; where the two languages still part, the difference is reported.
"""

from __future__ import annotations

from typing import Any

from compiler.rules import limits
from compiler.rules.importers.conditions import FALSE, Condition
from compiler.rules.importers.infer import inferred
from compiler.rules.importers.jsonlogic_terms import operation
from compiler.rules.importers.jsonlogic_truth import TruthReader
from compiler.rules.importers.report import Imported, RefusedError, Report, envelope, finished
from compiler.schema import FeatureMap

MAX_NESTING = 100


def import_jsonlogic(
    rule: Any, features: FeatureMap | None = None, *, then: str = "true", otherwise: str = "false"
) -> Imported:
    """Table of a JsonLogic rule.

    Args:
        rule: the decoded rule.
        features: types of its variables; without them they are inferred from their use, and
            reported.
        then: model of a rule, or of a branch, that answers true.
        otherwise: model where it answers false.

    Raises:
        ProblemsError: every reason to refuse, with its path.
    """
    report = Report()
    known = dict(features or {})
    if _depth(rule) > MAX_NESTING:
        report.refused("rule.too_deep", f"expected at most {MAX_NESTING} levels, got more", "$")
        report.close()
    guessed = inferred(rule) if features is None else {}
    for name, (feature, why) in guessed.items():
        known[name] = feature
        report.differs("jsonlogic.schema", f"{name} has no schema and is taken as {why}", "$")
    reader = _Cascade(known, report, then, otherwise)
    conditions: list[dict[str, Any]] = []
    default = reader.model(otherwise)
    try:
        conditions, default = reader.cascade(rule, "$", 1)
    except RefusedError as error:
        report.refusals.append(error.problem)
    return finished(envelope(known, conditions, default), report)


def _depth(rule: Any) -> int:
    deepest, stack = 0, [(rule, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth <= MAX_NESTING and isinstance(node, dict | list):
            parts = node.values() if isinstance(node, dict) else node
            stack.extend((part, depth + 1) for part in parts)
    return deepest


class _Cascade:
    """Reads what a rule answers."""

    def __init__(self, features: FeatureMap, report: Report, then: str, otherwise: str) -> None:
        self.reader = TruthReader(features, report)
        self.report, self.then, self.otherwise = report, then, otherwise

    def cascade(
        self, node: Any, at: str, depth: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rules and default of a whole rule or of a branch that is a chain."""
        found = operation(node, at)
        if found is not None and found[0] in ("if", "?:"):
            return self.chain(found[1], f"{at}.{found[0]}", depth)
        if isinstance(node, str | bool) or node is None:
            return [], self.consequent(node, at)
        return [self.rule(1, self.answer(node, at), self.model(self.then))], self.model(
            self.otherwise
        )

    def chain(
        self, args: list[Any], at: str, depth: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """``if, then, if, then, ..., else``."""
        rules: list[dict[str, Any]] = []
        for place in range(0, len(args) - 1, 2):
            condition = self.condition(args[place], f"{at}[{place}]")
            consequent = self.branch(args[place + 1], f"{at}[{place + 1}]", depth)
            rules.append(self.rule(len(rules) + 1, condition, consequent))
        if not len(args) % 2:
            return rules, self.consequent(None, at)
        try:
            more, default = self.cascade(args[-1], f"{at}[{len(args) - 1}]", depth)
        except RefusedError as error:
            self.report.refusals.append(error.problem)
            return rules, self.model(self.otherwise)
        for rule in more:  # a chain behind else goes on with this one
            rules.append({**rule, "id": f"rule{len(rules) + 1}"})
        return rules, default

    def condition(self, node: Any, at: str) -> Condition:
        """A condition; its reasons to refuse are noted and the reading goes on."""
        try:
            return self.reader.truth(node, at)
        except RefusedError as error:
            self.report.refusals.append(error.problem)
            return FALSE

    def branch(self, node: Any, at: str, depth: int) -> dict[str, Any]:
        """A result: a model, or a nested cascade."""
        try:
            if depth >= limits.MAX_CASCADE_DEPTH:
                message = f"expected at most {limits.MAX_CASCADE_DEPTH} nested chains, got more"
                self.report.refused("rule.too_deep", message, at)
                return self.model(self.otherwise)
            rules, default = self.cascade(node, at, depth + 1)
        except RefusedError as error:
            self.report.refusals.append(error.problem)
            return self.model(self.otherwise)
        if not rules:
            return default
        return {"type": "rules", "conditions": rules, "defaultConsequent": default}

    def answer(self, node: Any, at: str) -> Condition:
        """An expression that stands for the answer itself, and so must be true or false."""
        if not self.reader.boolean(node):
            self.reader.truth(node, at)  # an unknown operator is the better reason
            self.report.refused(
                "jsonlogic.answer",
                "expected an answer that is a name, true or false, got another value",
                at,
                'answer with the name of a model, as in {"if": [condition, "model_a", "model_b"]}',
            )
        return self.condition(node, at)

    def consequent(self, node: Any, at: str) -> dict[str, Any]:
        """Consequent of a literal answer."""
        if isinstance(node, bool):
            return self.model(self.then if node else self.otherwise)
        if isinstance(node, str) and node:
            return self.model(node)
        if node is None:
            self.report.differs(
                "jsonlogic.null",
                "null, JsonLogic's answer where no branch is taken, becomes a rejection",
                at,
            )
            return {"type": "reject", "reason": "no branch was taken"}
        self.report.refused(
            "jsonlogic.answer", "expected a name as the answer, got an empty text", at
        )
        return self.model(self.otherwise)

    @staticmethod
    def model(name: str) -> dict[str, Any]:
        """A model by name."""
        return {"type": "model", "model": name}

    @staticmethod
    def rule(number: int, condition: Condition, consequent: dict[str, Any]) -> dict[str, Any]:
        """One rule of a cascade."""
        return {"id": f"rule{number}", "antecedent": condition, "consequent": consequent}
