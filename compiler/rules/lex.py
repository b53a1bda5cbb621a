"""Words of the text form, each with its line and column."""

from __future__ import annotations

import re

from msgspec import Struct

from compiler.errors import Problem, ProblemsError


class Token(Struct, frozen=True):
    """One word.

    Attributes:
        kind: ``name`` (bare), ``quoted`` (double quotes), ``text``, ``number``,
            ``symbol``, ``bad`` (what starts no word; reported already) or ``end``.
        value: what it stands for, quotes removed.
        at: ``line:column``, both from 1.
    """

    kind: str
    value: str
    at: str

    @property
    def word(self) -> str:
        """Upper case of a bare name, for keywords; the symbol itself; else empty."""
        if self.kind == "name":
            return self.value.upper()
        return self.value if self.kind == "symbol" else ""


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|--[^\n]*)
    |(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z_0-9]))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<symbol><=|>=|<>|!=|==|[=<>()+\-*/,:@])""",
    re.VERBOSE,
)


_BAD = re.compile(r"['\"`][^\n]*|[0-9][A-Za-z0-9_.]*|[^\n]")
MAX_PROBLEMS = 100
"""Problems after which the rest of a text is not worth reading."""


def tokens(source: str) -> list[Token]:
    """Words of a text, ending with one of kind ``end``.

    Raises:
        ProblemsError: characters that start no word, or quotes that are not closed.
    """
    problems: list[Problem] = []
    found = scan(source, problems)
    if problems:
        raise ProblemsError(problems)
    return found


def scan(source: str, problems: list[Problem]) -> list[Token]:
    """Words of a text; what starts no word is one of kind ``bad``, and reported."""
    found: list[Token] = []
    place, line, line_start = 0, 1, 0
    while place < len(source):
        at = f"{line}:{place - line_start + 1}"
        match = _TOKEN.match(source, place)
        if match is None:
            bad = _BAD.match(source, place)
            assert bad is not None
            if len(problems) < MAX_PROBLEMS:
                problems.append(_bad(bad.group(), at))
            found.append(Token("bad", bad.group(), at))
            place = bad.end()
            continue
        kind, raw = match.lastgroup or "", match.group()
        if kind != "space":
            found.append(Token(kind, _value(kind, raw), at))
        breaks = raw.count("\n")
        if breaks:
            line += breaks
            line_start = place + raw.rindex("\n") + 1
        place = match.end()
    found.append(Token("end", "", f"{line}:{place - line_start + 1}"))
    return found


def _value(kind: str, raw: str) -> str:
    if kind == "text":
        return raw[1:-1].replace("''", "'")
    if kind == "quoted":
        return raw[1:-1].replace('""', '"')
    return raw


def _bad(found: str, at: str) -> Problem:
    character = found[0]
    if character in "'\"`":
        return Problem(
            "rule.syntax",
            f"expected a closing {character}, got the end of the text",
            at,
            f"a {character} within quotes is written twice" if character != "`" else "",
        )
    if character.isdigit():
        return Problem("rule.syntax", f"expected a number, got {found[:20]!r}", at)
    return Problem("rule.syntax", f"expected a word of the rule language, got {character!r}", at)
