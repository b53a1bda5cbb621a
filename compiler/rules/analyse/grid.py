"""Rows of cells, and what conditions are on them: FALSE, UNKNOWN or TRUE.

A row is one cell per feature, kept as its number. A test is evaluated by the reference interpreter
once per combination of the cells it reads and spread over the rows, so that truth over a hundred
thousand rows costs as many look-ups and not as many evaluations.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules import ast
from compiler.rules.analyse.cells import cells, is_residual, literals_of
from compiler.rules.check import field_names
from compiler.rules.chunks import VectorProgram
from compiler.rules.explanation import leaves_of
from compiler.rules.flat import number_leaves
from compiler.rules.reference import Reader, truth
from compiler.rules.spans import Line, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from compiler.schema import FeatureMap

FALSE, UNKNOWN, TRUE = 0, 1, 2
"""Kleene values in their order: AND is the least, OR the greatest."""
SEED = 20_260
MAX_ASKED = 512
"""Combinations of one test that the reference is asked; more are computed by columns."""
MANY = 64
"""Cells of a feature beyond which a test is taken from its cuts and not from the reference."""
MAX_LITERALS = 1_000_000
"""Combinations times literals of a list, likewise."""


class Grid:
    """Every combination of the cells that some conditions tell apart, or a seeded sample.

    Args:
        conditions: what tells requests apart.
        scope: every feature.
        budget: rows at most.
        sample: rows at most where they are a sample.
        free: tests that cells do not show may be anything, whatever the features are: what holds
            on all rows is proved, while a row need not exist.
        now_us: time that tests against the clock see as now.

    Attributes:
        values: cells by feature; None, for MISSING, comes last.
        complete: every combination is there.
        rows: number of rows.
        codes: number of the cell by feature, shape (rows,); of a complete grid the first feature
            changes fastest.

    Cost: rows x features.
    """

    def __init__(
        self,
        conditions: Sequence[ast.Condition],
        scope: FeatureMap,
        budget: int,
        *,
        sample: int | None = None,
        free: bool = False,
        now_us: int = 0,
    ) -> None:
        self.scope, self.now_us = scope, now_us
        self.values = cells(conditions, scope, now_us)
        self.free: dict[ast.Leaf, str] = {}
        if free:
            hidden = [leaf for each in conditions for leaf in leaves_of(each) if is_residual(leaf)]
            self.free = {leaf: f"\0{number}" for number, leaf in enumerate(hidden)}
            self.values |= {name: [FALSE, UNKNOWN, TRUE] for name in self.free.values()}
        sizes = [len(each) for each in self.values.values()]
        total = math.prod(sizes)
        self.complete = total <= budget
        self.rows = total if self.complete else min(budget, sample or budget)
        self.codes = self._product(sizes) if self.complete else self._sample(sizes)
        self._truths: dict[ast.Leaf, NDArray[np.int8]] = {}

    def _product(self, sizes: list[int]) -> dict[str, NDArray[np.intp]]:
        codes: dict[str, NDArray[np.intp]] = {}
        repeat = 1
        for name, size in zip(self.values, sizes, strict=True):
            codes[name] = np.tile(np.repeat(np.arange(size), repeat), self.rows // (repeat * size))
            repeat *= size
        return codes

    def _sample(self, sizes: list[int]) -> dict[str, NDArray[np.intp]]:
        draw = np.random.default_rng(SEED)
        drawn = (draw.integers(size, size=self.rows) for size in sizes)
        return dict(zip(self.values, drawn, strict=True))

    def columns(self, codes: dict[str, NDArray[np.intp]] | None = None) -> dict[str, Any]:
        """Values by feature as object arrays, of all rows or of the ``codes`` given."""
        return {
            name: objects(self.values[name])[each]
            for name, each in (self.codes if codes is None else codes).items()
        }

    def row(self, number: int) -> dict[str, Any]:
        """One row as a flat mapping; MISSING features are left out."""
        found = {name: self.values[name][each[number]] for name, each in self.codes.items()}
        return {name: value for name, value in found.items() if value is not None}

    def truth(self, node: ast.Condition) -> NDArray[np.int8]:
        """Kleene value on every row; int8 array of shape (rows,), not to be written to."""
        match node:
            case ast.And(of=parts):
                return reduce(np.minimum, [self.truth(part) for part in parts])
            case ast.Or(of=parts):
                return reduce(np.maximum, [self.truth(part) for part in parts])
            case ast.Not(of=part):
                return TRUE - self.truth(part)
            case ast.Xor(of=parts, negated=negated):
                found = np.array([self.truth(part) for part in parts])
                odd = ((found == TRUE).sum(axis=0) % 2 == 1) != negated
                unknown = (found == UNKNOWN).any(axis=0)
                return np.where(unknown, UNKNOWN, np.where(odd, TRUE, FALSE)).astype(np.int8)
        if node not in self._truths:
            self._truths[node] = self._leaf(node)
        return self._truths[node]

    def _leaf(self, leaf: ast.Leaf) -> NDArray[np.int8]:
        if leaf in self.free:
            return self.codes[self.free[leaf]].astype(np.int8)
        names = field_names(leaf)
        if len(names) == 1 and len(self.values[names[0]]) > MANY and not is_residual(leaf):
            known = self._by_cuts(leaf, names[0])
            if known is not None:
                return known[self.codes[names[0]]]
        which = np.zeros(self.rows, np.intp)
        for name in names:
            which = which * len(self.values[name]) + self.codes[name]
        asked, places = np.unique(which, return_inverse=True)
        if len(asked) > MAX_ASKED or len(asked) * len(literals_of(leaf)) > MAX_LITERALS:
            return self._by_columns(leaf)
        rows = np.zeros(len(asked), np.intp)
        rows[places] = np.arange(self.rows)
        found = [
            self._ask(leaf, {name: self.values[name][self.codes[name][row]] for name in names})
            for row in rows.tolist()
        ]
        return np.array(found, np.int8)[places.reshape(-1)]

    def _ask(self, leaf: ast.Leaf, row: dict[str, Any]) -> int:
        value = truth(leaf, Reader(self.scope, row, self.now_us))
        return UNKNOWN if value is None else (TRUE if value else FALSE)

    def _by_cuts(self, leaf: ast.Leaf, name: str) -> NDArray[np.int8] | None:
        """Value on every cell of an ordered feature from the cuts of the test, if it has such."""
        cuts = values_of(leaf)
        if not isinstance(cuts, Line):
            return None
        values = self.values[name]
        present = values[:-1] if values[-1] is None else values
        known = np.full(len(values), TRUE if cuts.inside else FALSE, np.int8)
        for value, after in cuts.marks:
            place = bisect_right(present, value) if after else bisect_left(present, value)
            known[place:] = TRUE - known[place:]
        if values[-1] is None:
            known[-1] = self._ask(leaf, {})
        return known

    def _by_columns(self, leaf: ast.Leaf) -> NDArray[np.int8]:
        word = ast.RejectConsequent()
        rules = (ast.Rule("true", leaf, word), ast.Rule("false", ast.Not(leaf), word))
        program = VectorProgram(number_leaves(ast.Table(rules, word)), self.scope, "fallthrough")
        read = {name: self.codes[name] for name in field_names(leaf)}
        found = program.run(self.columns(read), self.rows, self.now_us)
        return np.array([TRUE, FALSE, UNKNOWN], np.int8)[found]


def objects(values: list[Any]) -> Any:
    """An object array of shape (values,)."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
