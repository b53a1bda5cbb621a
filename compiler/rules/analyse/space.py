"""What a table does on every combination of cells, or on a sample where there are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules.analyse.cells import is_residual, literals_of
from compiler.rules.analyse.grid import TRUE, Grid
from compiler.rules.explanation import leaves_of

if TYPE_CHECKING:
    from compiler.rules import ast
    from compiler.rules.analyse.lines import Lines
    from compiler.rules.compiled import CompiledRules

BUDGET_ROWS = 100_000
"""Combinations that are tried at most."""
SAMPLE_ROWS = 20_000
"""Rows of the seeded sample that stands for more combinations."""
BUDGET_TESTS = 4_000_000
"""Rows times rules: longer tables get fewer rows."""

ORDINARY = 8
"""Tests of a rule; where they are more a table counts as longer."""
LISTED = 32
"""Members of a list that amount to a test."""
LEAST_ROWS = 1_000
"""Rows that even the longest table gets."""


class Space:
    """Rows that stand for all requests, as far as the table can tell them apart.

    Attributes:
        grid: the rows as numbers of cells, and truth on them.
        rows: number of rows.
        complete: every combination of cells is there.
        columns: object arrays of shape (rows,) by feature.
        decided: leaf that decides each row, -1-i where UNKNOWN rule i stops it; shape (rows,).
        size: rules, or what their tests amount to.
        lines: decisions along a feature, once they were asked for.
        first: first row that each leaf index decides, -1 where none does; shape (leaves,).

    Cost: rows x features; at most ``BUDGET_ROWS`` rows.
    """

    def __init__(self, rules: CompiledRules, now_us: int) -> None:
        conditions = [step.rule.condition for step in rules.steps()]
        tests = sum(
            1 + len(literals_of(leaf)) // LISTED
            for condition in conditions
            for leaf in leaves_of(condition)
        )
        self.size = max(1, len(conditions), tests // ORDINARY)
        self.lines: dict[str, Lines] = {}
        budget = max(LEAST_ROWS, min(BUDGET_ROWS, BUDGET_TESTS // self.size))
        self.grid = Grid(conditions, rules.scope, budget, sample=SAMPLE_ROWS, now_us=now_us)
        self.complete, self.rows = self.grid.complete, self.grid.rows
        self.columns = self.grid.columns()
        self.decided = rules.numpy(self.columns, self.rows, now_us)
        self.first = np.full(len(rules.ids), -1, dtype=np.int64)
        indices, places = np.unique(self.decided, return_index=True)
        for index, place in zip(indices.tolist(), places.tolist(), strict=True):
            if index >= 0:
                self.first[index] = place

    def example(self, row: int) -> dict[str, Any]:
        """One row as a flat mapping; MISSING features are left out."""
        return self.grid.row(row)

    def fires(self, rule: ast.Rule) -> Any:
        """Where one rule is TRUE by itself; bool array of shape (rows,)."""
        return self.grid.truth(rule.condition) == TRUE


def exact(condition: ast.Condition) -> bool:
    """Whether cells show everything about a condition."""
    return not any(is_residual(leaf) for leaf in leaves_of(condition))
