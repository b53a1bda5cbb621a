"""CEL text to its syntax tree, by precedence climbing.

From loose to tight: ``?:``, ``||``, ``&&``, relations (with ``in``), ``+ -``, ``* / %``, ``! -``,
then selection, index and call. Parsing stops at the first problem.
"""

from __future__ import annotations

from typing import NoReturn

from compiler.errors import Problem, ProblemsError
from compiler.rules import limits
from compiler.rules.cel import values
from compiler.rules.cel.lex import RESERVED, Token, tokens
from compiler.rules.cel.tree import Call, Ident, Index, ListOf, Literal, MapOf, Node, Select

MAX_NESTING = 48
"""Brackets, negations and choices within each other in one text."""
_LEVEL = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
}
_WORDS = {"true": True, "false": False, "null": None}


def parse(source: str) -> Node:
    """Tree of a whole text.

    Raises:
        ProblemsError: the first problem, with its line and column in the text.
    """
    if len(source) > limits.MAX_STRING:
        raise ProblemsError(
            [
                Problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_STRING} characters of CEL, got {len(source)}",
                    "1:1",
                )
            ]
        )
    reader = _Reader(tokens(source))
    node = reader.choice()
    if reader.peek().kind != "end":
        reader.fail("an operator or the end")
    return node


class _Reader:
    """A place in a list of words."""

    def __init__(self, words: list[Token]) -> None:
        self.words, self.place, self.depth = words, 0, 0

    def peek(self) -> Token:
        return self.words[self.place]

    def take(self) -> Token:
        token = self.words[self.place]
        self.place += 1
        return token

    def accept(self, symbol: str) -> bool:
        token = self.peek()
        if token.kind == "symbol" and token.text == symbol:
            self.place += 1
            return True
        return False

    def expect(self, symbol: str) -> None:
        if not self.accept(symbol):
            self.fail(symbol)

    def fail(self, expected: str) -> NoReturn:
        token = self.peek()
        got = "the end of the text" if token.kind == "end" else repr(token.text[:20])
        raise ProblemsError([Problem("cel.syntax", f"expected {expected}, got {got}", token.at)])

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise ProblemsError(
                [
                    Problem(
                        "rule.too_deep",
                        f"expected at most {MAX_NESTING} nested levels of CEL, got more",
                        self.peek().at,
                        "split the condition into several rules",
                    )
                ]
            )

    def choice(self) -> Node:
        """``condition ? a : b``, or what binds tighter."""
        self.deeper()
        node = self.binary(1)
        token = self.peek()
        if self.accept("?"):
            first = self.binary(1)
            self.expect(":")
            node = Call("?:", None, (node, first, self.choice()), token.at)
        self.depth -= 1
        return node

    def binary(self, level: int) -> Node:
        """Operators of ``level`` and tighter, left to right."""
        left = self.unary()
        while True:
            token = self.peek()
            found = _LEVEL.get(token.text, 0) if token.kind in ("symbol", "name") else 0
            if found < level:
                return left
            self.take()
            left = Call(token.text, None, (left, self.binary(found + 1)), token.at)

    def unary(self) -> Node:
        """Negations, innermost last."""
        signs = []
        while self.peek().kind == "symbol" and self.peek().text in ("!", "-"):
            signs.append(self.take())
            self.deeper()
        self.depth -= len(signs)
        token = self.peek()
        if signs and signs[-1].text == "-" and self._number(token):
            self.take()
            signs.pop()
            node: Node = self.member(Literal(_negative(token), token.at))
        else:
            node = self.member(self.primary())
        for sign in reversed(signs):
            node = Call("!" if sign.text == "!" else "-_", None, (node,), sign.at)
        return node

    @staticmethod
    def _number(token: Token) -> bool:
        value = token.value
        plain = isinstance(value, int | float) and not isinstance(value, bool | values.Uint)
        return token.kind == "literal" and plain

    def member(self, node: Node) -> Node:
        """Selections, calls and indices behind a primary."""
        while True:
            token = self.peek()
            if self.accept("."):
                name = self.take()
                if name.kind == "quoted" or (name.kind == "name" and name.text != "in"):
                    node = self.selected(node, name)
                    continue
                self.place -= 1
                self.fail("a field or method")
            if not self.accept("["):
                return node
            node = Index(node, self.choice(), token.at)
            self.expect("]")

    def selected(self, node: Node, name: Token) -> Node:
        """A field, or a method with its arguments."""
        if name.kind == "name" and self.accept("("):
            return Call(name.text, node, self.items(")"), name.at)
        if name.kind == "name" and name.text in _WORDS:
            self.place -= 1
            self.fail("a field other than true, false and null (or one in backticks)")
        return Select(node, name.text, name.at)

    def primary(self) -> Node:
        """A literal, name, call, list, map or bracket."""
        token = self.peek()
        if token.kind == "literal":
            if token.value == values.INT_MAX + 1 and not isinstance(
                token.value, values.Uint | float
            ):
                self.fail("an int of 64 bits")
            self.take()
            return Literal(token.value, token.at)
        if self.accept("("):
            node = self.choice()
            self.expect(")")
            return node
        if self.accept("["):
            return ListOf(self.items("]"), token.at)
        if self.accept("{"):
            return MapOf(self.pairs(), token.at)
        if self.accept("."):
            token = self.peek()  # a leading dot asks for the outermost scope, which is ours anyway
        if token.kind != "name" or token.text in RESERVED:
            self.fail("a value, a name or (")
        self.take()
        if token.text in _WORDS:
            return Literal(_WORDS[token.text], token.at)
        if self.accept("("):
            return Call(token.text, None, self.items(")"), token.at)
        return Ident(token.text, token.at)

    def items(self, close: str) -> tuple[Node, ...]:
        """Expressions up to a closing bracket; only a list may end with a comma."""
        found: list[Node] = []
        while not self.accept(close):
            if found:
                self.expect(",")
                if close == "]" and self.accept(close):
                    break
            found.append(self.choice())
        return tuple(found)

    def pairs(self) -> tuple[tuple[Node, Node], ...]:
        """Entries of a map."""
        found: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            if found:
                self.expect(",")
                if self.accept("}"):
                    break
            key = self.choice()
            self.expect(":")
            found.append((key, self.choice()))
        return tuple(found)


def _negative(token: Token) -> int | float:
    value = token.value
    assert isinstance(value, int | float)
    return -value
