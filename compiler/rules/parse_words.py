"""The words of the text form and the reader that takes them one by one."""

from __future__ import annotations

from typing import NoReturn

from compiler.errors import Problem, ProblemsError
from compiler.rules.lex import Token
from compiler.rules.names import suggestion

KEYWORDS = frozenset(
    {
        "IF",
        "THEN",
        "ELSE",
        "AND",
        "OR",
        "XOR",
        "NOT",
        "IN",
        "BETWEEN",
        "IS",
        "NULL",
        "NAN",
        "TRUE",
        "FALSE",
        "AS",
        "NOW",
        "CONTAINS",
        "BEGINS",
        "STARTS",
        "ENDS",
        "MATCHES",
        "BEFORE",
        "AFTER",
        "WITH",
        "IGNORE",
        "CASE",
        "DISTINCT",
        "FROM",
        "EMPTY",
        "LAST",
        "NEXT",
        "BY",
        "SALT",
        "LAYER",
    }
)


class WordReader:
    """A place in a list of words; the last one is the end."""

    def __init__(self, words: list[Token]) -> None:
        self.words = words
        self.place = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> Token:
        return self.words[min(self.place + ahead, len(self.words) - 1)]

    def take(self) -> Token:
        token = self.peek()
        self.place += 1
        return token

    def accept(self, *words: str) -> bool:
        if any(self.peek(i).word != word for i, word in enumerate(words)):
            return False
        self.place += len(words)
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            self.fail(
                "rule.syntax",
                f"expected {word}, got {self.shown()}",
                self.peek().at,
                self.meant(),
            )

    def meant(self) -> str:
        """A keyword that the word here resembles."""
        word = self.peek().word
        if self.peek().kind != "name" or word in KEYWORDS:
            return ""
        return suggestion(word, sorted(KEYWORDS))

    def expect_end(self) -> None:
        if self.peek().kind != "end":
            self.fail("rule.syntax", f"expected the end, got {self.shown()}", self.peek().at)

    def shown(self) -> str:
        token = self.peek()
        if token.kind == "end":
            return "the end of the text"
        return repr(token.value if len(token.value) <= 40 else token.value[:37] + "...")

    def name(self, what: str) -> str:
        token = self.peek()
        if token.kind == "quoted" or (token.kind == "name" and token.word not in KEYWORDS):
            return self.take().value
        hint = "put it in double quotes to use it as a name" if token.kind == "name" else ""
        return self.fail("rule.syntax", f"expected {what}, got {self.shown()}", token.at, hint)

    def text(self, what: str) -> str:
        if self.peek().kind != "text":
            self.fail(
                "rule.syntax",
                f"expected {what} in single quotes, got {self.shown()}",
                self.peek().at,
            )
        return self.take().value

    def fail(self, code: str, message: str, at: str, hint: str = "") -> NoReturn:
        raise ProblemsError([Problem(code, message, at, hint)])
