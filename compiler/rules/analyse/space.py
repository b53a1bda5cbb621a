"""What a table does on every combination of cells, or on a sample where there are too many."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules import ast
from compiler.rules.analyse.cells import cells, is_residual
from compiler.rules.explanation import leaves_of

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules

BUDGET_ROWS = 100_000
"""Combinations that are tried at most; beyond it a seeded sample of that size is."""
BUDGET_TESTS = 4_000_000
"""Rows times rules: longer tables get fewer rows."""
SEED = 20_260


class Space:
    """Rows that stand for all requests, as far as the table can tell them apart.

    Attributes:
        rows: number of rows.
        complete: every combination of cells is there.
        columns: object arrays of shape (rows,) by feature.
        first: first row that each leaf index decides, -1 where none does; shape (leaves,).

    Cost: rows x features; at most ``BUDGET_ROWS`` rows.
    """

    def __init__(self, rules: CompiledRules) -> None:
        conditions = [step.rule.condition for step in rules.steps()]
        values = cells(conditions, rules.scope)
        total = math.prod(len(each) for each in values.values())
        budget = max(1_000, min(BUDGET_ROWS, BUDGET_TESTS // max(1, len(conditions))))
        self.complete = total <= budget
        self.rows = total if self.complete else budget
        self.columns = _product(values) if self.complete else _sample(values, self.rows)
        decided = rules.numpy(self.columns, self.rows)
        self.decided = decided
        self.first = np.full(len(rules.ids), -1, dtype=np.int64)
        indices, places = np.unique(decided, return_index=True)
        for index, place in zip(indices.tolist(), places.tolist(), strict=True):
            if index >= 0:
                self.first[index] = place

    def example(self, row: int) -> dict[str, Any]:
        """One row as a flat mapping; MISSING features are left out."""
        found = {name: column[row] for name, column in self.columns.items()}
        return {name: value for name, value in found.items() if value is not None}

    def fires(self, rules: CompiledRules, rule: ast.Rule) -> Any:
        """Where one rule is TRUE by itself; bool array of shape (rows,)."""
        from compiler.rules.compiled import CompiledRules

        consequent = (
            ast.DecisionConsequent("fires")
            if rules.table.kind == "decision"
            else (ast.RejectConsequent("fires"))
        )
        alone = ast.Table(
            (ast.Rule(rule.id, rule.condition, consequent),), consequent, rules.table.kind
        )
        compiled = CompiledRules(alone, rules.features, rules.output, b"")
        return compiled.numpy(self.columns, self.rows) == 0


def exact(condition: ast.Condition) -> bool:
    """Whether cells show everything about a condition."""
    return not any(is_residual(leaf) for leaf in leaves_of(condition))


def _product(values: dict[str, list[Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    repeat = 1
    total = math.prod(len(each) for each in values.values())
    for name, each in values.items():
        column = _objects(each)
        repeated = np.repeat(column, repeat)
        columns[name] = np.tile(repeated, total // len(repeated))
        repeat *= len(each)
    return columns


def _sample(values: dict[str, list[Any]], rows: int) -> dict[str, Any]:
    draw = np.random.default_rng(SEED)
    return {
        name: _objects(each)[draw.integers(len(each), size=rows)] for name, each in values.items()
    }


def _objects(values: list[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
