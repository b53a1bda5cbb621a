"""Rules of large tables that no sampled row reached: a row made for each, else a proof or a doubt.

A sample seldom hits a rule of several narrow ranges. So rows are made from the cells of the rule's
own condition, with the other features drawn from the table. A rule that takes none of them may be
hidden by earlier rules that read nothing but features of its own; their cells together are few
enough to try all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules import ast
from compiler.rules.analyse.grid import FALSE, SEED, TRUE, Grid, objects
from compiler.rules.analyse.space import exact
from compiler.rules.check import field_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Cascade, Step

TRIALS = 8
"""Rows made for each rule."""
ROWS = 10_000
"""Combinations tried for one proof."""
SINGLE = 200
"""Earlier rules that are looked at one by one for one rule."""
BUDGET = 20_000_000
"""Combinations times rules that the proofs of one table may cost."""
LEAST = 5_000
"""What a proof costs however few combinations it tries."""
_HIDDEN = frozenset(("",))
"""Names of a rule whose truth cells do not show: those of no rule."""


Before = tuple[tuple["Cascade", int], ...]


class Suspect:
    """A rule that no row reached.

    Attributes:
        step: the rule.
        needs: what must be TRUE for it to decide: the rules around it and its own.
        before: the rules read before it, by cascade the steps and how many of them.
    """

    def __init__(self, step: Step, needs: list[ast.Condition], before: Before) -> None:
        self.step, self.needs, self._before = step, needs, before

    def before(self) -> Iterator[Step]:
        """The rules that are read before it, the outermost first."""
        for cascade, count in self._before:
            yield from cascade.steps[:count]


def suspects(cascade: Cascade, wanted: set[str]) -> list[Suspect]:
    """The rules of these paths with what stands before and around them."""
    found: list[Suspect] = []

    def walk(inner: Cascade, needs: list[ast.Condition], before: Before) -> None:
        for number, step in enumerate(inner.steps):
            own, seen = [*needs, step.rule.condition], (*before, (inner, number))
            if step.path in wanted:
                found.append(Suspect(step, own, seen))
            if step.inner is not None:
                walk(step.inner, own, seen)

    walk(cascade, [], ())
    return found


def reached(rules: CompiledRules, space: Space, doubted: list[Suspect]) -> set[str]:
    """Paths of the rules that decide one of the rows made for them."""
    draw = np.random.default_rng(SEED)
    made: list[tuple[Suspect, dict[str, Any]]] = []
    for suspect in doubted:
        grid = Grid([ast.And(tuple(suspect.needs))], rules.scope, ROWS, now_us=space.grid.now_us)
        holds = np.flatnonzero(grid.truth(ast.And(tuple(suspect.needs))) == TRUE)
        for _ in range(TRIALS if len(holds) else 0):
            row = dict.fromkeys(space.grid.values)
            row |= space.example(int(draw.integers(space.rows)))
            number = int(draw.choice(holds))
            row |= {name: grid.values[name][codes[number]] for name, codes in grid.codes.items()}
            made.append((suspect, row))
    columns = {name: objects([row[name] for _, row in made]) for name in space.grid.values}
    decided = rules.numpy(columns, len(made), space.grid.now_us).tolist()
    return {
        suspect.step.path
        for (suspect, _), leaf in zip(made, decided, strict=True)
        if leaf in suspect.step.leaves()
    }


class Prover:
    """Proofs that earlier rules take every request of a rule, within one budget."""

    def __init__(self, rules: CompiledRules) -> None:
        self.rules, self.left = rules, BUDGET
        self.strict = rules.on_unknown != "fallthrough"
        self._names = {
            step.path: frozenset(field_names(step.rule.condition))
            for step in rules.steps()
            if exact(step.rule.condition)
        }

    def hidden(self, suspect: Suspect) -> dict[str, Any] | None:
        """A row on which the rule is TRUE and comes too late, when all such rows do; else None.

        Only rules that read no other features are looked at: together where their cells are few,
        else one by one.
        """
        needs = [need for need in suspect.needs if exact(need)]
        names = frozenset(field_names(ast.And(tuple(needs))))
        earlier = [
            step.rule.condition
            for step in suspect.before()
            if self._names.get(step.path, _HIDDEN) <= names
        ]
        for group in (earlier, *([rule] for rule in earlier[-SINGLE:])):
            found = self._taken(needs, group) if group and needs else None
            if found is not None:
                return found
        return None

    def _taken(
        self, needs: list[ast.Condition], earlier: list[ast.Condition]
    ) -> dict[str, Any] | None:
        if self.left <= 0:
            return None
        grid = Grid([*needs, *earlier], self.rules.scope, ROWS)
        self.left -= LEAST + (len(earlier) * grid.rows if grid.complete else 0)
        if not grid.complete:
            return None
        holds = grid.truth(ast.And(tuple(needs))) == TRUE
        open_ = holds.copy()
        for rule in earlier:
            value = grid.truth(rule)
            open_ &= value == FALSE if self.strict else value != TRUE
        if open_.any() or not holds.any():
            return None
        return grid.row(int(holds.argmax()))
