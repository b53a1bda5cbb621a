"""The same requests through two tables: which of them go elsewhere, and how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compiler.rules import ast
from compiler.rules.diff.outcomes import by_leaves, outcome_of, rule_of, words_of
from compiler.rules.diff.report import Side
from compiler.rules.splits import assign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules

EXAMPLES = 10
Rows = tuple[Mapping[str, Any], int, Callable[[int], Mapping[str, Any]]]
"""Columns by feature, number of rows, and a row as a flat mapping."""


class Move(Struct, frozen=True):
    """Requests that went one way and now go another."""

    before: Side
    after: Side
    rows: int
    share: float


class Moved(Struct, frozen=True):
    """One of them."""

    before: Side
    after: Side
    row: Mapping[str, Any]


class Replay(Struct, frozen=True):
    """Requests through two tables.

    Attributes:
        rows: replayed.
        changed: whose outcome is another.
        share: of all rows; 0 when there are none.
        moves: the most frequent first.
        examples: of the moves in turn.
    """

    rows: int
    changed: int
    share: float
    moves: tuple[Move, ...]
    examples: tuple[Moved, ...]


def replay(old: CompiledRules, new: CompiledRules, batches: Iterable[Rows], now_us: int) -> Replay:
    """Route rows by both tables.

    Values are read leniently, one of a wrong type is MISSING. The arm of a split is part of the
    outcome: it is drawn from the column that the split names.

    Cost: rows x rules of both tables, by columns; rows of a split that was edited singly.
    """
    total = 0
    counts: Counter[tuple[Side, Side]] = Counter()
    examples: dict[tuple[Side, Side], list[Mapping[str, Any]]] = {}
    for columns, count, row in batches:
        before, after = old.numpy(columns, count, now_us), new.numpy(columns, count, now_us)
        for sides, rows in _moves(old, new, before, after, row):
            counts[sides] += len(rows)
            kept = examples.setdefault(sides, [])
            kept += [row(each) for each in rows[: EXAMPLES - len(kept)]]
        total += count
    moves = tuple(Move(*sides, count, count / total) for sides, count in counts.most_common())
    changed = sum(counts.values())
    return Replay(total, changed, changed / total if total else 0.0, moves, _in_turn(examples))


def _in_turn(examples: dict[tuple[Side, Side], list[Mapping[str, Any]]]) -> tuple[Moved, ...]:
    """One of each move, then a second one, up to ten in all."""
    found = [
        (place, Moved(*sides, row))
        for sides, rows in examples.items()
        for place, row in enumerate(rows)
    ]
    return tuple(each for _, each in sorted(found, key=lambda each: each[0])[:EXAMPLES])


def _moves(
    old: CompiledRules,
    new: CompiledRules,
    before: NDArray[np.int16],
    after: NDArray[np.int16],
    row: Callable[[int], Mapping[str, Any]],
) -> Iterable[tuple[tuple[Side, Side], list[int]]]:
    """Rows by what both tables did with them, where that differs."""
    for leaf, other, rows in by_leaves(before, after):
        first, second = outcome_of(old, leaf), outcome_of(new, other)
        if first == second:
            continue
        sides = (
            Side(rule_of(old, leaf), words_of(first)),
            Side(rule_of(new, other), words_of(second)),
        )
        if not any(isinstance(each[1], ast.SplitConsequent) for each in (first, second)):
            yield sides, rows.tolist()
            continue
        by_arm: dict[tuple[Side, Side], list[int]] = {}
        for each in rows.tolist():
            values = row(each)
            arms = _arm(first[1], values, sides[0]), _arm(second[1], values, sides[1])
            if arms[0].outcome != arms[1].outcome:
                by_arm.setdefault(arms, []).append(each)
        yield from by_arm.items()


def _arm(consequent: Any, row: Mapping[str, Any], side: Side) -> Side:
    """Where a row goes: for a split the model of its arm."""
    if not isinstance(consequent, ast.SplitConsequent):
        return side
    unit = row.get(consequent.unit)
    arm = consequent.arms[assign(consequent, unit if unit is None else str(unit)).arm]
    return Side(side.rule, words_of(("consequent", ast.ModelConsequent(arm.model, arm.version))))
