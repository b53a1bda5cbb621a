"""Missing-holes: what an absent feature does to the rules that would have used it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.analyse.cells import is_residual
from compiler.rules.analyse.lines import Lines, lines
from compiler.rules.check import field_names
from compiler.rules.explanation import leaves_of
from compiler.rules.finding import Finding
from compiler.rules.print_table import print_consequent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Step

SOUGHT = 100
"""Rules that are asked about one feature."""
ASKED = 8
"""Rows that the reference interpreter is asked about one rule and feature."""


def missing_holes(rules: CompiledRules, space: Space) -> list[Finding]:
    """Features that may be MISSING and rules that are UNKNOWN then, where that changes the outcome.

    A warning where the outcome is one that no value of the feature gives, else a note. Nothing is
    said of a table that says itself what UNKNOWN does (``onUnknown``), nor of a request that a rule
    decides which asks whether the feature is there.
    """
    if rules.on_unknown != "fallthrough":
        return []
    outcomes = _outcomes(rules)
    found: list[Finding] = []
    for name, values in space.grid.values.items():
        if values[-1] is None and len(values) > 1:
            found += _of_feature(rules, lines(rules, space, name), outcomes)
    return found


def _outcomes(rules: CompiledRules) -> NDArray[np.intp]:
    """A number per leaf, the same for leaves that do the same."""
    seen: dict[Any, int] = {}
    return np.array(
        [seen.setdefault(replace(leaf, at=""), len(seen)) for leaf in rules.consequents], np.intp
    )


def _of_feature(
    rules: CompiledRules, along: Lines, outcomes: NDArray[np.intp]
) -> Iterator[Finding]:
    present, absent = along.decided[:, :-1], along.decided[:, -1:]
    differs = outcomes[present] != outcomes[absent]
    aware = np.zeros(len(rules.ids), np.bool_)
    aware[list(_aware(rules, along.name))] = True
    lost = differs & (present < absent) & ~aware[absent]
    never = differs.all(axis=1) & (present != rules.flat.cascade.default).all(axis=1)
    told: set[str] = set()
    if not _hidden(rules, along.name):
        hole = _first(rules, along, lost & never[:, None])
        if hole is not None:
            told.add(hole.rules[0])
            yield replace(hole, message=f"{hole.message}; no value of `{along.name}` gives that")
            lost &= ~never[:, None]  # the other rules of such a request need no note
    wanting = np.unique(present[lost]).tolist()
    if len(wanting) > SOUGHT:
        message = (
            f"what a MISSING `{along.name}` does was asked of {SOUGHT} rules of {len(wanting)}; "
            "that nothing happens to the others is not proven"
        )
        yield Finding("note", "missing-hole", message, proven=False)
    for index in wanting[:SOUGHT]:
        note = _first(rules, along, lost & (present == index))
        if note is not None and note.rules[0] not in told:
            told.add(note.rules[0])
            yield replace(note, level="note")


def _first(rules: CompiledRules, along: Lines, where: NDArray[np.bool_]) -> Finding | None:
    """A row of these on which the rule is UNKNOWN for want of the feature, by the reference."""
    for line, cell in np.argwhere(where)[:ASKED].tolist():
        row = along.row(line, len(along.values) - 1)
        with_it, known = rules.reference(along.row(line, cell), along.now_us)
        without, unknown = rules.reference(row, along.now_us)
        wanting = [path for path in unknown if path not in known]
        path = next((p for p in wanting if (rules.ids[with_it] + "/").startswith(p + "/")), None)
        if path is not None:
            return _finding(rules, along, path, row, (with_it, without))
    return None


def _finding(
    rules: CompiledRules, along: Lines, path: str, row: dict[str, Any], leaves: tuple[int, int]
) -> Finding:
    with_it, without = leaves
    step = next(step for step in rules.steps() if step.path == path)
    default = without == rules.flat.cascade.default
    taker = "the default" if default else f"rule {rules.ids[without]}"
    message = (
        f"with `{along.name}` MISSING rule {path} is UNKNOWN, so instead of "
        f"{_word(rules, with_it)} {taker} answers {_word(rules, without)}"
    )
    return Finding("warning", "missing-hole", message, (path,), _place(step, along.name), row)


def _word(rules: CompiledRules, leaf: int) -> str:
    return print_consequent(rules.consequents[leaf])


def _place(step: Step, name: str) -> str:
    tests = leaves_of(step.rule.condition)
    return next((leaf.at for leaf in tests if name in field_names(leaf) and leaf.at), step.rule.at)


def _aware(rules: CompiledRules, name: str) -> set[int]:
    """Leaves of rules that ask whether a feature is there."""
    found: set[int] = set()
    for step in rules.steps():
        if any(_asks(leaf, name) for leaf in leaves_of(step.rule.condition)):
            found.update(step.leaves())
    return found


def _asks(leaf: ast.Leaf, name: str) -> bool:
    return isinstance(leaf, ast.Presence | ast.Distinct) and name in field_names(leaf)


def _hidden(rules: CompiledRules, name: str) -> bool:
    """Whether some test of a feature is one that cells do not show."""
    return any(
        is_residual(leaf) and name in field_names(leaf)
        for step in rules.steps()
        for leaf in leaves_of(step.rule.condition)
    )
