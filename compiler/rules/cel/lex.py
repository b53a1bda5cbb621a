"""Words of a CEL text, each with its line and column; literals are turned into values here."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from msgspec import Struct

from compiler.errors import Problem, ProblemsError
from compiler.rules.cel import values
from compiler.rules.cel.strings import EscapeError, unquote


class Token(Struct, frozen=True):
    """One word.

    Attributes:
        kind: ``name``, ``quoted`` (in backticks), ``literal``, ``symbol`` or ``end``.
        text: as written; a quoted name without its backticks.
        at: ``line:column``, both from 1.
        value: of a literal. An int may be 2**63, which only a minus before it makes right.
    """

    kind: str
    text: str
    at: str
    value: Any = None


RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"in", "let", "loop", "namespace", "package", "return", "var", "void", "while"}
)
_QUOTED = (
    r"""'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|"""
    r"""'(?:[^'\\\r\n]|\\.)*'|"(?:[^"\\\r\n]|\\.)*\""""
)
_RAW = r"""'''.*?'''|\"\"\".*?\"\"\"|'[^'\r\n]*'|"[^"\r\n]*\""""
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<raw>[bB]?[rR](?:{_RAW}))
    |(?P<string>[bB]?(?:{_QUOTED}))
    |(?P<float>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?))
    |(?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?)
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<quoted>`[a-zA-Z0-9_\-./\ ]+`)
    |(?P<symbol>&&|\|\||<=|>=|==|!=|[-<>()\[\]{{}}.,?:+*/%!])""",
    re.VERBOSE | re.DOTALL,
)


def tokens(source: str) -> list[Token]:
    """Words of a text, ending with one of kind ``end``.

    Raises:
        ProblemsError: a character that starts no word, a bad escape, a number out of range.
    """
    found: list[Token] = []
    place, line, line_start, glued = 0, 1, 0, False
    while place < len(source):
        at = f"{line}:{place - line_start + 1}"
        match = _TOKEN.match(source, place)
        if match is None:
            _refuse(f"expected a word of CEL, got {source[place : place + 12]!r}", at)
        kind, raw = match.lastgroup or "", match.group()
        if glued and kind in ("name", "int", "float"):
            _refuse(f"expected an operator after a number, got {raw[:12]!r}", at)
        glued = kind in ("int", "float")
        if kind != "space":
            found.append(_token(kind, raw, at))
        breaks = raw.count("\n")
        if breaks:
            line += breaks
            line_start = place + raw.rindex("\n") + 1
        place = match.end()
    found.append(Token("end", "", f"{line}:{place - line_start + 1}"))
    return found


def _token(kind: str, raw: str, at: str) -> Token:
    if kind in ("raw", "string"):
        try:
            return Token("literal", raw, at, unquote(raw))
        except EscapeError as error:
            _refuse(str(error), at)
    if kind == "float":
        value = float(raw)
        if value == float("inf"):
            _refuse(f"expected a finite double, got {raw}", at)
        return Token("literal", raw, at, value)
    if kind == "int":
        return Token("literal", raw, at, _integer(raw, at))
    if kind == "quoted":
        return Token("quoted", raw[1:-1], at)
    return Token(kind, raw, at)


def _integer(raw: str, at: str) -> int:
    unsigned = raw[-1] in "uU"
    digits = raw[:-1] if unsigned else raw
    if len(digits) > 40:
        _refuse("expected an integer of 64 bits, got a longer one", at)
    value = int(digits, 16) if digits.startswith("0x") else int(digits)
    if value > (values.UINT_MAX if unsigned else values.INT_MAX + 1):
        _refuse(f"expected an integer of 64 bits, got {raw}", at)
    return values.Uint(value) if unsigned else value


def _refuse(message: str, at: str) -> NoReturn:
    raise ProblemsError([Problem("cel.syntax", message, at)])
