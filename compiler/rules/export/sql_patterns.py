r"""Regular expressions of the safe subset, rewritten for PostgreSQL.

Only what means the same is written: ``.`` leaves out the line feed, ``$`` also stands before a last
one, as in Python. ``\d \w \s`` become their ASCII members, which is reported.
"""

from __future__ import annotations

import re
from re import _constants as rc  # type: ignore[attr-defined]
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any

MAX_COUNT = 255
"""PostgreSQL's largest bound of a repeat."""
_PLACES = {
    rc.AT_BEGINNING: "^",
    rc.AT_BEGINNING_STRING: "^",
    rc.AT_END: r"(?=\u000a?$)",
    rc.AT_END_STRING: "$",
}
_CLASSES = {
    rc.CATEGORY_DIGIT: "0-9",
    rc.CATEGORY_WORD: "A-Za-z0-9_",
    rc.CATEGORY_SPACE: r"\u0020\u0009-\u000d",
}


class PatternError(Exception):
    """The pattern has no equal in PostgreSQL; the text says what stands in the way."""


def to_postgres(pattern: str) -> tuple[str, bool]:
    """The pattern for ``~``, and whether it names classes whose members beyond ASCII are lost.

    Raises:
        PatternError: no equal exists.
    """
    tree = regex_parser.parse(pattern)
    if tree.state.flags & ~re.UNICODE:
        raise PatternError("flags in the pattern")
    writer = _Writer()
    return writer.sequence(tree), writer.classes


class _Writer:
    """Writes one pattern.

    Attributes:
        classes: whether a class was met.
    """

    def __init__(self) -> None:
        self.classes = False

    def sequence(self, tree: Any) -> str:
        return "".join(self.part(op, argument) for op, argument in tree)

    def part(self, op: Any, argument: Any) -> str:
        if op is rc.LITERAL:
            return _literal(argument)
        if op is rc.NOT_LITERAL:
            return f"[^{_member(argument)}]"
        if op is rc.ANY:
            return r"[^\u000a]"
        if op is rc.IN:
            return self.members(argument)
        if op is rc.AT and argument in _PLACES:
            return _PLACES[argument]
        if op is rc.BRANCH:
            return "(?:" + "|".join(self.sequence(part) for part in argument[1]) + ")"
        if op is rc.SUBPATTERN:
            _, added, removed, body = argument
            if added or removed:
                raise PatternError("flags in the pattern")
            return f"(?:{self.sequence(body)})"
        if op in (rc.MAX_REPEAT, rc.MIN_REPEAT):
            return self.repeat(*argument)
        raise PatternError(str(argument if op is rc.AT else op).lower())

    def repeat(self, low: int, high: Any, body: Any) -> str:
        if any(op is rc.AT for op, _ in body):
            raise PatternError("a repeated ^ or $")
        endless = high is rc.MAXREPEAT
        if max(low, 0 if endless else high) > MAX_COUNT:
            raise PatternError(f"a count over {MAX_COUNT}")
        return f"(?:{self.sequence(body)}){{{low},{'' if endless else high}}}"

    def members(self, items: Any) -> str:
        text = ""
        for op, argument in items:
            if op is rc.NEGATE:
                text = "^"
            elif op is rc.LITERAL:
                text += _member(argument)
            elif op is rc.RANGE:
                text += f"{_member(argument[0])}-{_member(argument[1])}"
            elif argument in _CLASSES:
                self.classes = True
                text += _CLASSES[argument]
            elif len(items) == 1:
                self.classes = True
                text = "^" + _CLASSES[_POSITIVE[argument]]
            else:
                raise PatternError("a negated class among others")
        return f"[{text}]"


_POSITIVE = {
    rc.CATEGORY_NOT_DIGIT: rc.CATEGORY_DIGIT,
    rc.CATEGORY_NOT_WORD: rc.CATEGORY_WORD,
    rc.CATEGORY_NOT_SPACE: rc.CATEGORY_SPACE,
}


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else _member(code)


def _member(code: int) -> str:
    return rf"\u{code:04x}" if code < 0x10000 else rf"\U{code:08x}"
