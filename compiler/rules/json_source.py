"""JSON texts to plain data, and where one is that cannot be."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from compiler.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Callable

DEEP = 200
"""Nested brackets of an ordinary document; groups of the language end at a sixth of it."""
_HALF_PAIR = re.compile(r"\\u[dD][89abcdefABCDEF]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|NaN|-?Infinity|[0-9]+', re.DOTALL)
_DEPTH = {"[": 1, "{": 1, "]": -1, "}": -1}


def load_json(source: bytes | str) -> Any:
    """Plain data of a JSON text; of duplicate keys the last one wins.

    Raises:
        ProblemsError: not JSON, a NaN or Infinity literal, or too deeply nested.
    """
    try:
        return _decoded(source)
    except UnicodeEncodeError:
        problem = half_pair(_where(source, _is_half_pair))
    except json.JSONDecodeError as error:
        problem = Problem(
            "rule.syntax",
            f"expected JSON, got {error.msg.lower()}",
            f"{error.lineno}:{error.colno}",
            "check the brackets, commas and quotes there",
        )
    except UnicodeDecodeError as error:
        problem = Problem(
            "rule.syntax",
            "expected UTF-8 text, got other bytes",
            f"byte {error.start}",
            "save the file as UTF-8",
        )
    except ValueError:  # what json says of an integer with thousands of digits
        problem = Problem(
            "rule.literal",
            "expected numbers of ordinary length, got one of thousands of digits",
            _where(source, lambda token, _: len(token) > sys.get_int_max_str_digits()),
        )
    except RecursionError:
        problem = Problem(
            "rule.too_deep",
            "expected a document of ordinary depth, got a deeper one",
            _where(source, lambda _, depth: depth > DEEP),
        )
    raise ProblemsError([problem])


def half_pair(at: str) -> Problem:
    """That a text holds half a character."""
    return Problem(
        "rule.literal",
        "expected whole characters, got half of a surrogate pair (\\ud800 to \\udfff alone)",
        at,
        "write the character itself, or both halves",
    )


def _decoded(source: bytes | str) -> Any:
    def refuse(word: str) -> NoReturn:
        raise ProblemsError(
            [
                Problem(
                    "rule.literal",
                    f"expected a finite number, got {word}",
                    _where(source, lambda token, _: token == word),
                    "use isNaN or null to test for a missing value",
                )
            ]
        )

    data = json.loads(source, parse_constant=refuse)
    if _HALF_PAIR.search(source if isinstance(source, str) else source.decode()):
        json.dumps(data, ensure_ascii=False).encode()  # half a pair has no bytes
    return data


def _is_half_pair(token: str, _: int) -> bool:
    if not _HALF_PAIR.search(token):
        return False
    try:
        json.loads(token).encode()
    except UnicodeEncodeError:
        return True
    return False


def _where(source: bytes | str, wanted: Callable[[str, int], bool]) -> str:
    """``line:column`` of the first token that is wanted, given the depth of brackets at it."""
    text = source if isinstance(source, str) else source.decode("utf-8-sig", "replace")
    depth = 0
    for found in _TOKEN.finditer(text):
        depth += _DEPTH.get(found[0], 0)
        if wanted(found[0], depth):
            start = found.start()
            line = text.count("\n", 0, start) + 1
            return f"{line}:{start - text.rfind(chr(10), 0, start)}"
    return ""
