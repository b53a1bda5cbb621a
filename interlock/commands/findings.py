"""Findings about a rule table on a terminal, and where a long analysis is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import click
import msgspec

from compiler.errors import Problem
from compiler.rules.finding import Finding
from compiler.rules.places import with_lines

PATIENCE_S = 1.0
"""Seconds before anything is said about an analysis that is under way."""


class Progress:
    """Says on standard error what an analysis does next, once it has taken a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()

    def __call__(self, what: str) -> None:
        """Take note of a phase; shown when the ones before it took more than a second."""
        if self._clock() - self._start > PATIENCE_S:
            click.echo(f"analysing: {what} ...", err=True)


def with_places(findings: Sequence[Finding], source: str) -> list[Finding]:
    """The findings, each path into a JSON source preceded by its ``line:column``."""
    placed = [
        with_lines([Problem(found.code, found.message, found.at)], source)[0].at
        for found in findings
    ]
    return [
        msgspec.structs.replace(found, at=place)
        for found, place in zip(findings, placed, strict=True)
    ]


def worded(finding: Finding) -> str:
    """Level, kind, message, place and example."""
    place = f" - at {finding.at}" if finding.at else ""
    lines = [f"{finding.level}: {finding.code}: {finding.message}{place}"]
    if finding.example is not None:
        lines.append(f"  for example: {msgspec.json.encode(finding.example).decode()}")
    return "\n".join(lines)


def summary(findings: Sequence[Finding], rules: int) -> str:
    """How many rules there are and what is listed about them, by level."""
    levels = Counter(finding.level for finding in findings)
    what = ", ".join(_count(levels[level], level) for level in ("error", "warning", "note")
                     if levels[level])  # fmt: skip
    return f"{_count(rules, 'rule')} and a default, {what or 'nothing to remark'}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
