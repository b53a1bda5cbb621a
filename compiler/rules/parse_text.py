"""Text form to AST: ``IF .. THEN .. ELSE IF .. ELSE ..`` with SQL words.

Keywords are case-insensitive. A rule is named after its consequent: ``THEN model_a AS small``.
Names in double quotes may hold any character; texts are in single quotes, a quote in one doubled;
``--`` starts a comment. Parsing stops at the first problem.
"""

from __future__ import annotations

from typing import NoReturn

from compiler.errors import Problem, ProblemsError
from compiler.rules import ast, limits
from compiler.rules.lex import Token, tokens
from compiler.rules.parse_consequent import consequent_problem
from compiler.rules.parse_expression import ExpressionParser


def parse_text(source: str, *, kind: str = "routing") -> ast.Table:
    """Table of a text; its features are declared elsewhere.

    Args:
        source: the text.
        kind: ``routing`` (a bare name after THEN is a model) or ``decision`` (a decision word).

    Raises:
        ProblemsError: the first problem, with its line and column.
    """
    parser = _TableParser(tokens(source), kind)
    rules, default = parser.cascade(1)
    parser.expect_end()
    return ast.Table(rules, default, kind)  # type: ignore[arg-type]


def parse_condition_text(source: str) -> ast.Condition:
    """One condition, as between IF and THEN.

    Raises:
        ProblemsError: the first problem, with its line and column.
    """
    parser = ExpressionParser(tokens(source))
    node = parser.condition()
    parser.expect_end()
    return node


class _TableParser(ExpressionParser):
    """Adds rules and consequents to conditions."""

    def __init__(self, words: list[Token], kind: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.rule_count = 0

    def cascade(self, depth: int) -> tuple[tuple[ast.Rule, ...], ast.Consequent]:
        if depth > limits.MAX_CASCADE_DEPTH:
            self.fail(
                "rule.too_deep",
                f"expected at most {limits.MAX_CASCADE_DEPTH} nested cascades, got more",
                self.peek().at,
            )
        rules: list[ast.Rule] = []
        self.expect("IF")
        while True:
            at = self.peek().at
            condition = self.condition()
            self.expect("THEN")
            consequent = self.consequent(depth)
            self.rule_count += 1
            if self.rule_count > limits.MAX_RULES:
                self.fail(
                    "rule.too_large", f"expected at most {limits.MAX_RULES} rules, got more", at
                )
            name = self.name("a rule id") if self.accept("AS") else f"rule{len(rules) + 1}"
            rules.append(ast.Rule(name, condition, consequent, at))
            if not self.accept("ELSE"):
                self.fail(
                    "rule.no_default",
                    f"expected ELSE, got {self.shown()}",
                    self.peek().at,
                    "every table ends with ELSE and what answers when no rule fires",
                )
            if not self.accept("IF"):
                return tuple(rules), self.consequent(depth)

    def consequent(self, depth: int) -> ast.Consequent:
        at = self.peek().at
        if self.accept("("):
            rules, default = self.cascade(depth + 1)
            self.expect(")")
            return ast.RulesConsequent(rules, default, at)
        found = self.leaf_consequent(at)
        problem = consequent_problem(found, self.kind)
        if problem:
            self.fail("rule.consequent", problem, at)
        return found

    def leaf_consequent(self, at: str) -> ast.LeafConsequent:
        following = self.peek(1).kind
        if self.peek().word == "REJECT" and self.kind == "routing":
            self.take()
            return ast.RejectConsequent(self.take().value if self.peek().kind == "text" else "", at)
        if self.peek().word == "SPLIT" and self.peek(1).word == "(":
            self.take()
            return self.split(at)
        if self.peek().word == "SHADOW" and following in ("name", "quoted"):
            self.take()
            primary = self.model()
            self.expect("WITH")
            return ast.ShadowConsequent(primary, self.models(), at)
        if self.peek().word == "CHALLENGE" and following in ("name", "quoted"):
            self.take()
            champion = self.model()
            self.expect("WITH")
            return ast.ChallengeConsequent(champion, self.models(), at)
        if self.kind == "decision":
            return ast.DecisionConsequent(self.name("a decision"), at)
        return self.model()

    def model(self) -> ast.ModelConsequent:
        at = self.peek().at
        name = self.name("a model")
        version = self.whole_number() if self.accept("@") else None
        return ast.ModelConsequent(name, version, at)

    def models(self) -> tuple[ast.ModelConsequent, ...]:
        found = [self.model()]
        while self.accept(","):
            found.append(self.model())
        return tuple(found)

    def split(self, at: str) -> ast.SplitConsequent:
        self.expect("(")
        arms: list[ast.Arm] = []
        while True:
            weight = self.whole_number()
            self.expect(":")
            model = self.model()
            name = self.name("an arm") if self.accept("AS") else model.model
            arms.append(ast.Arm(name, weight, model.model, model.version))
            if not self.accept(","):
                break
        self.expect(")")
        unit = self.name("a unit") if self.accept("BY") else "split_id"
        self.expect("SALT")
        salt = self.text("a salt")
        layer = self.text("a layer") if self.accept("LAYER") else ""
        return ast.SplitConsequent(tuple(arms), salt, unit, layer, at)

    def whole_number(self) -> int:
        token = self.take()
        if token.kind != "number" or not token.value.isdigit() or len(token.value) > 18:
            self.fail(
                "rule.syntax",
                f"expected a whole number, got {token.value or 'the end'!r}",
                token.at,
            )
        return int(token.value)

    def fail(self, code: str, message: str, at: str, hint: str = "") -> NoReturn:
        raise ProblemsError([Problem(code, message, at, hint)])
