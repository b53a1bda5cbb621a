"""Sizes beyond which a table is refused, so that a hostile one cannot hurt who compiles it."""

from __future__ import annotations

import re
from re import _constants as rc  # type: ignore[attr-defined]
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any

MAX_SOURCE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
"""Nested groups, negations, arithmetic and cascades together."""
MAX_NODES = 200_000
MAX_RULES = 20_000
MAX_CASCADE_DEPTH = 8
MAX_LIST = 100_000
MAX_XOR = 8
MAX_STRING = 10_000
MAX_PATTERN = 500
MAX_REPEAT = 1000


def regex_problem(pattern: str) -> str:
    """Why a pattern is outside the safe subset, or an empty string.

    Refused: back references, look-around, conditionals, a repeat inside a repeat, a repeated
    choice, two neighbouring unbounded repeats, counts over 1000, more than 500 characters. What
    remains takes time at most quadratic in the length of the value.
    """
    if len(pattern) > MAX_PATTERN:
        return f"expected at most {MAX_PATTERN} characters, got {len(pattern)}"
    try:
        re.compile(pattern)
        tree = regex_parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"expected a regular expression, got one that does not parse ({error})"
    return _walk(tree, inside_repeat=False)


_ALLOWED = frozenset(
    {rc.LITERAL, rc.NOT_LITERAL, rc.ANY, rc.IN, rc.AT, rc.RANGE, rc.CATEGORY, rc.NEGATE}
)


def _walk(tree: Any, *, inside_repeat: bool) -> str:
    unbounded = 0
    for op, argument in tree:
        if op in (rc.MAX_REPEAT, rc.MIN_REPEAT):
            _low, high, body = argument
            if inside_repeat:
                return "expected no repeat inside a repeat, got one (it can take exponential time)"
            if high is not rc.MAXREPEAT and high > MAX_REPEAT:
                return f"expected counts up to {MAX_REPEAT}, got {high}"
            if high is rc.MAXREPEAT or high > 100:
                unbounded += 1
            if unbounded > 2:
                return "expected at most two unbounded repeats, got more (it can take cubic time)"
            problem = _walk(body, inside_repeat=True)
        elif op is rc.SUBPATTERN:
            problem = _walk(argument[3], inside_repeat=inside_repeat)
        elif op is rc.BRANCH:
            if inside_repeat:
                return "expected no choice inside a repeat, got one (it can take exponential time)"
            problem = next(
                (found for part in argument[1] if (found := _walk(part, inside_repeat=False))), ""
            )
        elif op in _ALLOWED:
            problem = ""
        else:
            return f"expected no {str(op).lower()}, got one (it is outside the safe subset)"
        if problem:
            return problem
    return ""
