"""Paths of a JSON document to line and column, looked up only when there is a problem to show."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.errors import Problem

_STEP = re.compile(r"\.([^.\[\]@]+)|\[([0-9]+)\]")  # behind @: a place within a CEL text
_SPACE = re.compile(r"[\s,:]*")


def with_lines(problems: Sequence[Problem], source: str | None) -> list[Problem]:
    """The problems, each path preceded by its ``line:column`` in the JSON source."""
    if source is None or not source.lstrip().startswith(("{", "[")):
        return list(problems)
    return [
        replace(problem, at=_place(problem.at, source)) if problem.at.startswith("$") else problem
        for problem in problems
    ]


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
