"""Tests that may be left out of a condition: the same rule decides every request without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.analyse.grid import TRUE
from compiler.rules.analyse.space import exact
from compiler.rules.explanation import leaves_of
from compiler.rules.finding import Finding
from compiler.rules.print_text import print_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from compiler.rules.analyse.grid import Grid
    from compiler.rules.analyse.reach import Reach
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Step

BUDGET = 400_000_000
"""Rows times tests that are looked at for a whole table; about a second."""
LEAST_ROWS = 1_000
"""Rows that a look costs however few there are."""
SHOWN = 60
"""Characters of a test that a message quotes."""
Path = tuple[int, ...]
View = tuple["Grid", "NDArray[np.bool_] | None"]
"""Rows, and which of them count (None is all)."""


def redundant(rules: CompiledRules, reach: Reach, skip: set[str]) -> list[Finding]:
    """Parts of AND and OR that change nothing, the last of several that say the same.

    Each may be left out by itself and all of them together. Where not every combination of the
    table was tried a rule is compared with itself alone, which finds less but is a proof as well.

    Args:
        rules: the table.
        reach: where its rules are read.
        skip: paths of rules that other findings say to be never or always true.
    """
    found: list[Finding] = []
    beyond: list[str] = []
    spent = 0
    for step in rules.steps():
        view = None if step.path in skip else _view(reach, step)
        if view is None:
            continue
        parts = list(removable(step.rule.condition))
        cost = len(parts) * len(leaves_of(step.rule.condition)) * max(view[0].rows, LEAST_ROWS)
        if spent + cost > BUDGET:
            beyond.append(step.path)
            continue
        spent += cost
        found += _of_rule(reach, step, parts, view)
    if beyond:
        message = (
            f"tests that may be left out were not searched in {len(beyond)} rules, {beyond[0]} "
            "first; that there are none is not proven"
        )
        found.append(Finding("note", "redundant", message, tuple(beyond), proven=False))
    return found


def _view(reach: Reach, step: Step) -> View | None:
    """Rows on which a condition must stay what it is, for a proof."""
    if reach.space.complete and exact(step.rule.condition):
        return reach.space.grid, reach.open[step.path]
    alone = reach.alone.get(step.path)
    return None if alone is None else (alone, None)


def _of_rule(reach: Reach, step: Step, parts: list[Path], view: View) -> Iterator[Finding]:
    whole = step.rule.condition
    same = _Same(view, whole, strict=reach.strict)
    gone: list[Path] = []
    for path in parts:
        if any(path[: len(other)] == other for other in gone):
            continue
        if same(without(whole, [path])) and same(without(whole, [*gone, path])):
            gone.append(path)
            part = at(whole, path)
            message = (
                f"`{_quoted(part)}` in rule {step.path} may be left out: "
                "the same rule decides every request without it"
            )
            place = part.at or step.rule.at
            example = _example(reach, step, part)
            yield Finding("note", "redundant", message, (step.path,), place, example)


def _example(reach: Reach, step: Step, part: ast.Condition) -> dict[str, Any] | None:
    """A row that the rule takes, where there is one on which the part is not TRUE."""
    space = reach.space
    takes = np.isin(space.decided, step.leaves())
    for rows in (takes & (space.grid.truth(part) != TRUE), takes):
        if rows.any():
            return space.example(int(rows.argmax()))
    return None


class _Same:
    """Whether a condition decides as the original does on every row that counts."""

    def __init__(self, view: View, whole: ast.Condition, *, strict: bool) -> None:
        (self.grid, self.rows), self.strict = view, strict
        self.before = self.grid.truth(whole)

    def __call__(self, node: ast.Condition | None) -> bool:
        if node is None:
            return False
        after = self.grid.truth(node)
        changed = after != self.before if self.strict else (after == TRUE) != (self.before == TRUE)
        return not (changed if self.rows is None else changed & self.rows).any()


def removable(node: ast.Condition, path: Path = ()) -> Iterator[Path]:
    """Places of the parts of AND and OR; of a group the last first, a part before what is in it."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            for number in reversed(range(len(parts))):
                yield (*path, number)
                yield from removable(parts[number], (*path, number))
        case ast.Xor(of=parts):
            for number, part in enumerate(parts):
                yield from removable(part, (*path, number))
        case ast.Not(of=part):
            yield from removable(part, (*path, 0))


def at(node: ast.Condition, path: Path) -> ast.Condition:
    """The part at a place."""
    for number in path:
        node = node.of if isinstance(node, ast.Not) else node.of[number]  # type: ignore[union-attr]
    return node


def without(node: ast.Condition, gone: list[Path], path: Path = ()) -> ast.Condition | None:
    """The condition without the parts at some places; None when nothing is left."""
    if path in gone:
        return None
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            kept = [without(part, gone, (*path, number)) for number, part in enumerate(parts)]
            left = tuple(part for part in kept if part is not None)
            if len(left) < 2:
                return left[0] if left else None
            return replace(node, of=left)
        case ast.Xor(of=parts):
            inner = [without(part, gone, (*path, number)) for number, part in enumerate(parts)]
            whole = tuple(part for part in inner if part is not None)
            return replace(node, of=whole) if len(whole) == len(parts) else None
        case ast.Not(of=part):
            below = without(part, gone, (*path, 0))
            return None if below is None else replace(node, of=below)
    return node


def _quoted(node: ast.Condition) -> str:
    text = print_condition(node)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
