"""Places of problems in their source: JSON paths to line and column, and the line with a caret.

Looked up only when there is a problem to show.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from compiler.errors import Problem
from compiler.rules.lex import MAX_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEP = re.compile(r"\.([^.\[\]@]+)|\[([0-9]+)\]")  # behind @: a place within a CEL text
_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,9})(?![0-9])")
_BEFORE, _SHOWN = 60, 100
_LOOKED_UP = 20_000_000
"""Characters that looking up places may read."""
_SPACE = re.compile(r"[\s,:]*")


def with_lines(problems: Sequence[Problem], source: str | None) -> list[Problem]:
    """The problems, each path preceded by its ``line:column`` in the JSON source.

    Of very many only the first are kept, with one that says how many there are; in very large
    sources only the first are looked up, since each look-up reads what stands before it.
    """
    found = list(problems[:MAX_PROBLEMS])
    if source is not None and source.lstrip().startswith(("{", "[")):
        reach = max(1, _LOOKED_UP // len(source))
        for index, problem in enumerate(found[:reach]):
            if problem.at.startswith("$"):
                found[index] = replace(problem, at=_place(problem.at, source))
    if len(problems) > MAX_PROBLEMS:
        rest = len(problems) - MAX_PROBLEMS
        message = f"expected a rule table, got {rest} more problems that are not listed"
        found.append(Problem("rule.many_problems", message))
    return found


def position(at: str) -> tuple[int, int]:
    """Line and column that a place begins with; (0, 0) when it has none."""
    found = _POSITION.match(at)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def excerpt(at: str, source: str | None) -> str:
    """The line of a place with a caret below it, or an empty string.

    Long lines are cut to the surroundings; tabs stay, so that the caret stands right.
    """
    line, column = position(at)
    if source is None or not line:
        return ""
    lines = source.split("\n", line)
    if len(lines) < line:
        return ""
    text = lines[line - 1].rstrip("\r")
    start = max(0, column - 1 - _BEFORE)
    shown = text[start : start + _SHOWN]
    before = "..." if start else ""
    after = "..." if len(text) > start + _SHOWN else ""
    shown = before + "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in shown) + after
    reach = len(before) + column - 1 - start
    pad = "".join("\t" if c == "\t" else " " for c in shown[:reach].ljust(reach))
    number = str(line)
    return f"{number} | {shown}\n{' ' * len(number)} | {pad}^"


def _place(path: str, source: str) -> str:
    steps: list[str | int] = [
        name or int(index) for name, index in _STEP.findall(path.removeprefix("$"))
    ]
    offset = _descend(source, steps)
    line = source.count("\n", 0, offset) + 1
    column = offset - (source.rfind("\n", 0, offset) + 1) + 1
    return f"{line}:{column} {path}"


def _descend(source: str, steps: list[str | int]) -> int:
    """Offset of the value at a path, or of the deepest part of it that exists."""
    decoder = json.JSONDecoder()
    place = _skip(source, 0)
    for step in steps:
        found = _member(source, place, step, decoder)
        if found is None:
            break
        place = found
    return place


def _member(source: str, start: int, step: str | int, decoder: Any) -> int | None:
    opening = source[start] if start < len(source) else ""
    place, index, last = _skip(source, start + 1), 0, None
    while opening in "{[" and place < len(source) and source[place] not in "]}":
        key: str | int = index
        if opening == "{":
            key, end = decoder.raw_decode(source, place)
            place = _skip(source, end)
        if key == step:
            last = place
        _, end = decoder.raw_decode(source, place)
        place, index = _skip(source, end), index + 1
    return last


def _skip(source: str, place: int) -> int:
    found = _SPACE.match(source, place)
    return found.end() if found else place


def without_places(node: Any) -> Any:
    """The same tree with every ``at`` empty: what two sources of one table have in common."""
    if isinstance(node, tuple):
        return tuple(without_places(part) for part in node)
    if not isinstance(node, Struct):
        return node
    found = {
        name: "" if name == "at" else without_places(getattr(node, name))
        for name in node.__struct_fields__
    }
    return type(node)(**found)
