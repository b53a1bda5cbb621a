"""Conditions of the text form, by precedence climbing.

From loose to tight: OR, XOR, AND, NOT, tests (``=``, IN, BETWEEN, IS, LIKE words), ``+ -``,
``* /``, unary minus. One grammar serves conditions and operands, so that parentheses need no
guessing; what does not fit is refused where it stands.
"""

from __future__ import annotations

import math

from compiler.rules import ast, limits
from compiler.rules.lex import Token
from compiler.rules.parse_condition import ARITH_ARGS, parse_span
from compiler.rules.parse_words import WordReader

_COMPARE: dict[str, ast.CompareOp] = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "BEFORE": "<",
    "AFTER": ">",
}
_TEXT: dict[str, ast.TextOp] = {
    "CONTAINS": "contains",
    "BEGINS": "beginsWith",
    "STARTS": "beginsWith",
    "ENDS": "endsWith",
    "MATCHES": "matches",
}
_FUNCTIONS = {"ABS": "abs", "MIN": "min", "MAX": "max", "COALESCE": "coalesce"}
_Node = ast.Condition | ast.Operand
_OPERANDS = (ast.Field, ast.Const, ast.Now, ast.Arith)


class ExpressionParser(WordReader):
    """Reads conditions from words; subclasses add what stands around them."""

    # conditions -------------------------------------------------------------------------------

    def condition(self) -> ast.Condition:
        """A whole condition; a bare feature means that it is TRUE."""
        at = self.peek().at
        return self.as_condition(self.either(), at)

    def as_condition(self, node: _Node, at: str) -> ast.Condition:
        if isinstance(node, ast.Field):
            return ast.Compare(node, "=", ast.Const(True, node.at), node.at)
        if isinstance(node, ast.Const) and isinstance(node.value, bool):
            return ast.Truth(node.value, node.at)
        if isinstance(node, _OPERANDS):
            self.fail(
                "rule.syntax",
                "expected a condition, got a value",
                node.at or at,
                "compare it with something",
            )
        return node

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > limits.MAX_DEPTH:
            self.fail(
                "rule.too_deep",
                f"expected at most {limits.MAX_DEPTH} nested levels, got more",
                self.peek().at,
                "split the condition into several rules",
            )

    def either(self) -> _Node:
        self.deeper()
        node = self.chain("OR", lambda: self.chain("XOR", lambda: self.chain("AND", self.negation)))
        self.depth -= 1
        return node

    def chain(self, word: str, part: object) -> _Node:
        assert callable(part)
        at = self.peek().at
        first: _Node = part()
        if self.peek().word != word:
            return first
        parts = [self.as_condition(first, at)]
        while self.peek().word == word:
            self.take()
            place = self.peek().at
            parts.append(self.as_condition(part(), place))
        if word == "XOR" and len(parts) > limits.MAX_XOR:
            self.fail(
                "rule.too_large",
                f"expected at most {limits.MAX_XOR} parts of an xor, got {len(parts)}",
                at,
            )
        kinds = {"OR": ast.Or, "AND": ast.And, "XOR": ast.Xor}
        return kinds[word](tuple(parts), at=at)  # type: ignore[no-any-return]

    def negation(self) -> _Node:
        at = self.peek().at
        if self.accept("NOT"):
            self.deeper()
            place = self.peek().at
            inner = self.as_condition(self.negation(), place)
            self.depth -= 1
            return ast.Not(inner, at)
        return self.test()

    def test(self) -> _Node:
        at = self.peek().at
        left = self.sum()
        token = self.peek()
        word = token.word
        if word in _COMPARE:
            self.take()
            right = self.operand(self.sum(), self.peek().at)
            return ast.Compare(self.operand(left, at), _COMPARE[word], right, at)
        if word == "IS":
            self.take()
            return self.is_test(self.operand(left, at), at)
        negated = word == "NOT" and self.peek(1).word in {"IN", "BETWEEN", *_TEXT}
        if negated:
            self.take()
            word = self.peek().word
        if word == "IN":
            self.take()
            return self.in_test(self.operand(left, at), at, negated=negated)
        if word == "BETWEEN":
            self.take()
            low = self.literal()
            self.expect("AND")
            return ast.Between(self.operand(left, at), low, self.literal(), negated, at)
        if word in _TEXT:
            self.take()
            if word in ("BEGINS", "STARTS", "ENDS"):
                self.expect("WITH")
            value = self.text("a pattern" if word == "MATCHES" else "a text")
            ignore = self.accept("IGNORE", "CASE")
            return ast.Text(self.operand(left, at), _TEXT[word], value, negated, ignore, at)
        return left

    def operand(self, node: _Node, at: str) -> ast.Operand:
        if not isinstance(node, _OPERANDS):
            self.fail(
                "rule.syntax",
                "expected a value, got a condition",
                at,
                "compare a feature or an arithmetic expression",
            )
        return node

    def is_test(self, left: ast.Operand, at: str) -> ast.Condition:
        negated = self.accept("NOT")
        if self.accept("NULL"):
            return ast.Presence(left, "notNull" if negated else "null", at=at)
        if self.accept("EMPTY"):
            return ast.Presence(left, "isNotEmpty" if negated else "isEmpty", at=at)
        if self.accept("NAN"):
            node = ast.Presence(left, "isNaN", at=at)
            return ast.Not(node, at) if negated else node
        if self.accept("DISTINCT", "FROM"):
            place = self.peek().at
            return ast.Distinct(left, self.operand(self.sum(), place), negated, at)
        return self.fail(
            "rule.syntax",
            "expected NULL, EMPTY, NAN or DISTINCT FROM after IS, got " + self.shown(),
            self.peek().at,
        )

    def in_test(self, left: ast.Operand, at: str, *, negated: bool) -> ast.Condition:
        for word in ("LAST", "NEXT"):
            if self.accept(word):
                place = self.peek().at
                span = parse_span(self.text("a span"))
                if span is None:
                    self.fail(
                        "rule.literal",
                        "expected a span such as '90d' or '12h', got another text",
                        place,
                        "units: w d h m s",
                    )
                return ast.Within(left, "last" if word == "LAST" else "next", span, negated, at)
        self.expect("(")
        values: list[ast.Value] = []
        if not self.accept(")"):
            values.append(self.literal())
            while self.accept(","):
                values.append(self.literal())
            self.expect(")")
        if len(values) > limits.MAX_LIST:
            self.fail(
                "rule.too_large",
                f"expected at most {limits.MAX_LIST} values, got {len(values)}",
                at,
            )
        return ast.In(left, tuple(values), negated, at)

    # operands ---------------------------------------------------------------------------------

    def sum(self) -> _Node:
        return self.binary(("+", "-"), lambda: self.binary(("*", "/"), self.unary))

    def binary(self, symbols: tuple[str, ...], part: object) -> _Node:
        assert callable(part)
        at = self.peek().at
        node: _Node = part()
        height = 0
        while self.peek().word in symbols:
            symbol = self.take().word
            place = self.peek().at
            right = self.operand(part(), place)
            node = ast.Arith(symbol, (self.operand(node, at), right), at)  # type: ignore[arg-type]
            height += 1
            if height + self.depth > limits.MAX_DEPTH:
                self.fail(
                    "rule.too_deep", f"expected at most {limits.MAX_DEPTH} levels, got more", at
                )
        return node

    def unary(self) -> _Node:
        at = self.peek().at
        if self.accept("-"):
            self.deeper()
            place, literal = self.peek().at, self.peek().kind == "number"
            inner = self.operand(self.unary(), place)
            self.depth -= 1
            if literal and isinstance(inner, ast.Const) and _is_number(inner.value):
                return ast.Const(-inner.value, at)  # type: ignore[operator]
            return ast.Arith("-", (inner,), at)
        return self.atom()

    def atom(self) -> _Node:
        token = self.peek()
        if self.accept("("):
            node = self.either()
            self.expect(")")
            return node
        if token.kind in ("number", "text") or token.word in ("TRUE", "FALSE"):
            return ast.Const(self.literal(), token.at)
        if token.word in _FUNCTIONS and self.peek(1).word == "(":
            return self.function(_FUNCTIONS[token.word])
        if token.word == "NOW":
            self.take()
            if self.accept("("):
                self.expect(")")
            return ast.Now(token.at)
        if token.word == "NULL":
            self.fail("rule.null_literal", "expected a value, got NULL", token.at, "write IS NULL")
        return ast.Field(self.name("a feature, a value or ("), token.at)

    def function(self, op: str) -> ast.Operand:
        at = self.take().at
        self.expect("(")
        self.deeper()
        args: list[ast.Operand] = []
        while True:
            place = self.peek().at
            args.append(self.operand(self.sum(), place))
            if not self.accept(","):
                break
        self.expect(")")
        self.depth -= 1
        low, high = ARITH_ARGS[op]
        if not low <= len(args) <= high:
            self.fail(
                "rule.arguments", f"expected {low} to {high} arguments of {op}, got {len(args)}", at
            )
        return ast.Arith(op, tuple(args), at)  # type: ignore[arg-type]

    def literal(self) -> ast.Value:
        token = self.peek()
        if self.accept("-"):
            value = self.literal() if self.peek().kind == "number" else ""
            if not _is_number(value):
                self.fail("rule.syntax", "expected a number after -, got another value", token.at)
            return -value  # type: ignore[operator]
        if self.accept("TRUE"):
            return True
        if self.accept("FALSE"):
            return False
        if token.kind == "text":
            if len(token.value) > limits.MAX_STRING:
                self.fail(
                    "rule.too_large",
                    f"expected at most {limits.MAX_STRING} characters, got {len(token.value)}",
                    token.at,
                )
            return self.take().value
        if token.kind == "number":
            return self.number(self.take())
        hint = "write IS NULL" if token.word == "NULL" else "texts are written in single quotes"
        code = "rule.null_literal" if token.word == "NULL" else "rule.syntax"
        return self.fail(code, f"expected a value, got {self.shown()}", token.at, hint)

    def number(self, token: Token) -> int | float:
        if len(token.value) > 400:
            self.fail(
                "rule.literal", "expected a number of ordinary length, got a longer one", token.at
            )
        if token.value.isdigit():
            return int(token.value)
        value = float(token.value)
        if not math.isfinite(value):
            self.fail("rule.literal", f"expected a finite number, got {token.value}", token.at)
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
