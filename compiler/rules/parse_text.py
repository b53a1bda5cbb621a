"""Text form to AST: ``IF .. THEN .. ELSE IF .. ELSE ..`` with SQL words.

Keywords are case-insensitive. A rule is named after its consequent: ``THEN model_a AS small``.
Names in double quotes may hold any character; texts are in single quotes, a quote in one doubled;
``--`` starts a comment. After a problem reading goes on at the next rule (ELSE), so that every
faulty rule is reported in one pass.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.errors import Problem, ProblemsError
from compiler.rules import ast, limits
from compiler.rules.lex import MAX_PROBLEMS, Token, scan, tokens
from compiler.rules.parse_consequent import consequent_problem
from compiler.rules.parse_expression import ExpressionParser


def parse_text(source: str, *, kind: str = "routing") -> ast.Table:
    """Table of a text; its features are declared elsewhere.

    Args:
        source: the text.
        kind: ``routing`` (a bare name after THEN is a model) or ``decision`` (a decision word).

    Raises:
        ProblemsError: a problem for each faulty rule, with its line and column.
    """
    table, problems = read_text(source, kind=kind)
    if problems:
        raise ProblemsError(problems, source=source)
    return table


def read_text(source: str, *, kind: str = "routing") -> tuple[ast.Table, list[Problem]]:
    """What can be read of a text, and its problems; with none the table is whole."""
    problems: list[Problem] = []
    parser = _TableParser(scan(source, problems), kind, problems)
    return parser.table(), problems


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

    def __init__(self, words: list[Token], kind: str, problems: list[Problem]) -> None:
        super().__init__(words)
        self.kind = kind
        self.rule_count = 0
        self.problems = problems
        self.bad = {problem.at for problem in problems}

    # the table --------------------------------------------------------------------------------

    def table(self) -> ast.Table:
        """The whole text; problems are noted."""
        found = ast.Table((), ast.RejectConsequent(), self.kind)  # type: ignore[arg-type]
        try:
            found = self.head(found)
        except ProblemsError as error:
            self.note(error)
            self.skip(("IF",))
        try:
            rules, default = self.cascade(1)
            found = replace(found, rules=rules, default=default)
            self.expect_end()
        except ProblemsError as error:
            self.note(error)
        return found

    def head(self, found: ast.Table) -> ast.Table:
        if self.accept("TABLE"):
            if self.peek().kind == "text":
                found = replace(found, id=self.text("an id"))
            if self.accept("REVISION"):
                found = replace(found, revision=self.whole_number())
            found = replace(found, description=self.description())
        if self.accept("ON"):
            self.expect("UNKNOWN")
            for word in ("ERROR", "FALLTHROUGH"):
                if self.accept(word):
                    return replace(found, on_unknown=word.lower())
            return replace(found, on_unknown=self.leaf())
        return found

    def description(self) -> str:
        return self.text("a description") if self.accept("DESCRIPTION") else ""

    # recovery ---------------------------------------------------------------------------------

    def note(self, error: ProblemsError) -> None:
        """Keep problems, but for those at a place that could not even be read as a word."""
        for problem in error.problems:
            if problem.at not in self.bad:
                self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            self.place = len(self.words) - 1

    def skip(self, words: tuple[str, ...]) -> None:
        """Go to the next of some words, past whole nested cascades."""
        nested = 0
        while self.peek().kind != "end":
            word = self.peek().word
            if word == "(" and self.peek(1).word == "IF":
                nested += 1
                self.place += 1
            elif nested and word in ("(", ")"):
                nested += 1 if word == "(" else -1
            elif not nested and word in words:
                return
            self.place += 1

    # rules ------------------------------------------------------------------------------------

    def cascade(self, depth: int) -> tuple[tuple[ast.Rule, ...], ast.Consequent]:
        if depth > limits.MAX_CASCADE_DEPTH:
            self.fail(
                "rule.too_deep",
                f"expected at most {limits.MAX_CASCADE_DEPTH} nested cascades, got more",
                self.peek().at,
            )
        rules: list[ast.Rule] = []
        more = self.accept("IF")
        if not more and not self.accept("ELSE"):  # a cascade may be its default alone
            self.expect("IF")
        while more:
            levels = self.depth
            try:
                rules.append(self.rule(len(rules) + 1, depth))
                self.expect_else()
            except ProblemsError as error:
                self.depth = levels
                self.note(error)
                self.skip(("ELSE", "IF", ")") if depth > 1 else ("ELSE", "IF"))
                if self.peek().word not in ("ELSE", "IF"):
                    return tuple(rules), ast.RejectConsequent()
                if not self.accept("ELSE"):
                    self.forgotten()
            more = self.accept("IF")
        try:
            return tuple(rules), self.default()
        except ProblemsError as error:
            if depth > 1:
                raise
            self.note(error)
        self.place = len(self.words) - 1
        return tuple(rules), ast.RejectConsequent()

    def forgotten(self) -> None:
        """Note an IF without ELSE, unless it was what stopped the rule before."""
        at = self.peek().at
        if self.problems and self.problems[-1].at != at:
            self.problems.append(Problem("rule.syntax", "expected ELSE, got 'IF'", at))

    def rule(self, number: int, depth: int) -> ast.Rule:
        at = self.peek().at
        self.rule_count += 1
        if self.rule_count > limits.MAX_RULES:
            self.place = len(self.words) - 1
            self.fail("rule.too_large", f"expected at most {limits.MAX_RULES} rules, got more", at)
        condition = self.condition()
        self.expect("THEN")
        consequent = self.consequent(depth)
        name = self.name("a rule id") if self.accept("AS") else f"rule{number}"
        return ast.Rule(name, condition, consequent, at, self.description())

    def expect_else(self) -> None:
        if self.accept("ELSE"):
            return
        ended = self.peek().kind == "end" or self.peek().word == ")"
        self.fail(
            "rule.no_default" if ended else "rule.syntax",
            f"expected ELSE, got {self.shown()}",
            self.peek().at,
            "every table ends with ELSE and what answers when no rule fires"
            if ended
            else self.meant(),
        )

    def default(self) -> ast.Consequent:
        if self.peek().word == "(" and self.peek(1).word == "IF":
            self.fail(
                "rule.consequent",
                "expected a model, SPLIT, REJECT or decision as default, got nested rules",
                self.peek().at,
                "write ELSE IF without parentheses",
            )
        return self.leaf()

    def consequent(self, depth: int) -> ast.Consequent:
        at = self.peek().at
        if self.accept("("):
            rules, default = self.cascade(depth + 1)
            self.expect(")")
            return ast.RulesConsequent(rules, default, at)
        return self.leaf()

    def leaf(self) -> ast.LeafConsequent:
        at = self.peek().at
        found = self.leaf_consequent(at)
        problem = consequent_problem(found, self.kind)
        if problem:
            self.fail("rule.consequent", problem, at)
        return found

    def leaf_consequent(self, at: str) -> ast.LeafConsequent:
        following = self.peek(1).kind
        if self.peek().word == "REJECT" and self.kind == "routing":
            self.take()
            reason = self.text("a reason") if self.peek().kind == "text" else ""
            return ast.RejectConsequent(reason, at)
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
