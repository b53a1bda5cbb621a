"""Tables that are the same rule by rule: a proof that needs no combinations of all features.

Most edits touch few rules of many. Where both tables have as many rules, each with the consequent
of its twin and a condition that is the same on every cell of the two alone, the tables are the
same, however many features the others read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compiler.rules import ast
from compiler.rules.analyse.grid import Grid
from compiler.rules.places import without_places

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.diff.atoms import Atoms
    from compiler.schema import FeatureMap

BUDGET_ROWS = 50_000
MOST_REWRITTEN = 200
"""Rewritten rules that are compared; with more of them nothing is claimed."""


def same_rule_by_rule(
    old: CompiledRules, new: CompiledRules, scope: FeatureMap, atoms: Atoms
) -> bool:
    """Whether two tables are proved to be the same; False says nothing."""
    one, other = old.table, new.table
    if (
        len(one.rules) != len(other.rules)
        or without_places(one.default) != without_places(other.default)
        or without_places(one.on_unknown) != without_places(other.on_unknown)
    ):
        return False
    rewritten = 0
    for rule, twin in zip(one.rules, other.rules, strict=True):
        if without_places(rule.consequent) != without_places(twin.consequent):
            return False
        if one.on_unknown == "error" and rule.id != twin.id:
            return False  # the id is part of that answer
        if without_places(rule.condition) == without_places(twin.condition):
            continue
        rewritten += 1
        if rewritten > MOST_REWRITTEN or not _same(rule.condition, twin.condition, scope, atoms):
            return False
    return True


def _same(one: ast.Condition, other: ast.Condition, scope: FeatureMap, atoms: Atoms) -> bool:
    named = [atoms.condition(one), atoms.condition(other)]
    grid = Grid(named, {**scope, **atoms.features}, BUDGET_ROWS)
    return grid.complete and bool(np.array_equal(grid.truth(named[0]), grid.truth(named[1])))
