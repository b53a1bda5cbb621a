"""Two tables on common ground: combinations of their cells, and rows that are requests."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from compiler.rules import ast, domain
from compiler.rules.analyse.grid import SEED, TRUE, Grid
from compiler.rules.chunks import VectorProgram
from compiler.rules.diff.atoms import Atoms
from compiler.rules.diff.outcomes import Outcome, outcome_of
from compiler.rules.explanation import leaves_of
from compiler.rules.flat import all_steps, number_leaves
from compiler.rules.places import without_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Flat
    from compiler.schema import Feature, FeatureMap

BUDGET_CELLS = 200_000
BUDGET_TESTS = 20_000_000
"""Rows times rules: longer tables get fewer rows."""
BUDGET_EXAMPLES = 50_000
DRAWS = 40
"""Values drawn of each feature that a test without cells reads."""
MOST_EDITED = 200
"""Edited rules that get rows of their own."""


class Pair:
    """Two tables over one scope.

    Attributes:
        scope: features of the requests that both accept.
        conditions: of the rules of both, tests without cells named.
        grid: combinations of cells and names.
        combinations: how many there are.
        cells: leaves of both tables on each of them.
        rows: number of rows that are requests.
        sampled: leaves of both tables on those.
    """

    def __init__(
        self, old: CompiledRules, new: CompiledRules, scope: FeatureMap, now_us: int
    ) -> None:
        self.old, self.new, self._now_us = old, new, now_us
        self.atoms = Atoms(scope)
        tables = [replace(each.table, rules=self.atoms.cascade(each.table.rules))
                  for each in (old, new)]  # fmt: skip
        flats = [number_leaves(table) for table in tables]
        self.scope = {**scope, **self.atoms.features}
        steps = [list(all_steps(flat.cascade)) for flat in flats]
        self.conditions = [step.rule.condition for each in steps for step in each]
        tests = max(1, len(self.conditions))
        budget = max(2_000, min(BUDGET_CELLS, BUDGET_TESTS // tests))
        self.grid = Grid(self.conditions, self.scope, budget, now_us=now_us)
        self.combinations = math.prod(len(each) for each in self.grid.values.values())
        if not self.grid.complete:
            self._spread()
            self._aim(edited(old, new, self.atoms))
        columns = self.grid.columns()
        self.cells = (
            self._run(old, flats[0], columns),
            self._run(new, flats[1], columns),
        )
        self._sample_rows(min(budget, BUDGET_EXAMPLES))

    def _run(self, rules: CompiledRules, flat: Flat, columns: dict[str, Any]) -> NDArray[np.int16]:
        """Leaves of one table, its tests without cells named, on the whole grid."""
        program = VectorProgram(flat, {**rules.scope, **self.atoms.features}, rules.on_unknown)
        return program.run(columns, self.grid.rows, self._now_us)

    def _spread(self) -> None:
        """Draw every other row of a sampled grid by the width of its cells.

        Cells are dense where rules are. A row that no rule but the edited one fires for lies
        mostly outside, where real requests are, too.
        """
        draw = np.random.default_rng(SEED + 3)
        for name, codes in self.grid.codes.items():
            weights = _widths(self.grid.values[name])
            codes[1::2] = draw.choice(len(weights), len(codes[1::2]), p=weights)

    def _aim(self, conditions: list[ast.Condition]) -> None:
        """Give half of a sampled grid to the requests that edited rules are about.

        A request that no edited rule fires for has the same outcome in both tables: it is there
        that differences are.
        """
        if not conditions:
            return
        draw = np.random.default_rng(SEED + 1)
        share = max(1, self.grid.rows // (2 * len(conditions)))
        at = 0
        for condition in conditions:
            alone = Grid([condition], self.scope, min(share * 8, BUDGET_CELLS), now_us=self._now_us)
            hits = np.flatnonzero(alone.truth(condition) == TRUE)
            if len(hits):
                picked = draw.choice(hits, share)
                for name, codes in alone.codes.items():
                    places = _places(self.grid.values[name], alone.values[name])
                    self.grid.codes[name][at : at + share] = places[codes[picked]]
                at += share

    def _sample_rows(self, budget: int) -> None:
        """Rows that are requests: cells where a test has them, drawn values where it has not."""
        plain = [step.rule.condition for each in (self.old, self.new) for step in each.steps()]
        self.rows = 0
        self.sampled = (np.empty(0, np.int16), np.empty(0, np.int16))
        if not self.atoms.tests:
            return
        scope = {**self.old.scope, **self.new.scope, **self._plain_scope}
        grid = Grid(plain, scope, budget, now_us=self._now_us)
        draw = np.random.default_rng(SEED + 2)
        values = dict(grid.values)
        for name in {name for test, _ in self.atoms.tests.values() for name in _fields(test)}:
            drawn = _drawn(self.scope[name], values[name], draw, self._now_us)
            values[name] = [*drawn, *values[name]]
        self.rows = budget
        self._values = values
        self._codes = {name: draw.integers(len(each), size=budget) for name, each in values.items()}
        columns = {name: _objects(values[name])[codes] for name, codes in self._codes.items()}
        self.sampled = (
            self.old.numpy(columns, budget, self._now_us),
            self.new.numpy(columns, budget, self._now_us),
        )

    @cached_property
    def _plain_scope(self) -> FeatureMap:
        return {name: each for name, each in self.scope.items() if name not in self.atoms.features}

    def concrete(self, row: int) -> dict[str, Any]:
        """A combination as a request, without its named tests.

        Whether those come out as the combination has them only the reference interpreter knows.
        """
        found = self.grid.row(row)
        for name in self.atoms.tests:
            found.pop(name, None)
        return found

    def example(self, row: int) -> dict[str, Any]:
        """One of the drawn rows."""
        found = {name: self._values[name][codes[row]] for name, codes in self._codes.items()}
        return {name: value for name, value in found.items() if value is not None}

    def reference(self, row: dict[str, Any]) -> tuple[Outcome, Outcome]:
        """Outcomes of a request by the reference interpreters."""
        old, _ = self.old.reference(row, self._now_us)
        new, _ = self.new.reference(row, self._now_us)
        return outcome_of(self.old, old), outcome_of(self.new, new)


def _widths(values: list[Any]) -> NDArray[np.float64]:
    """Shares of cells: of an ordered domain by their width, of another one all alike."""
    numbers = [float(value) for value in values if isinstance(value, int | float | decimal.Decimal)]
    weights = np.ones(len(values))
    if len(numbers) > 2 and numbers == sorted(numbers):
        wide = np.gradient(np.clip(numbers, -1e15, 1e15))
        weights[: len(numbers)] = np.maximum(wide, 0) + 1e-12
        weights[len(numbers) :] = weights[: len(numbers)].sum() / 20
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def edited(old: CompiledRules, new: CompiledRules, atoms: Atoms) -> list[ast.Condition]:
    """Conditions of rules that are in one table only, or in another place; with named tests."""
    from difflib import SequenceMatcher

    plain = [[without_places((s.rule.condition, s.rule.consequent)) for s in each.steps()]
             for each in (old, new)]  # fmt: skip
    keys = [[repr(each) for each in side] for side in plain]
    found = []
    matcher = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False)
    for tag, low, high, start, end in matcher.get_opcodes():
        if tag != "equal":
            found += [condition for condition, _ in plain[0][low:high] + plain[1][start:end]]
    return [atoms.condition(condition) for condition in dict.fromkeys(found)][:MOST_EDITED]


def _places(whole: list[Any], part: list[Any]) -> NDArray[np.intp]:
    """For each cell of one rule, a cell of the whole grid that lies within it.

    Cells of one rule are coarser: a representative that is not itself a value of the whole grid
    stands for an interval, of which the nearest value above it is as good.
    """
    index = {(type(value), value): place for place, value in enumerate(whole)}
    found = []
    for value in part:
        place = index.get((type(value), value))
        if place is None:
            place = next(
                (at for at, each in enumerate(whole) if each is not None and each > value),
                len(whole) - 1,
            )
        found.append(place)
    return np.array(found, np.intp)


def _fields(test: ast.Leaf) -> list[str]:
    from compiler.rules.check import field_names

    return [name for leaf in leaves_of(test) for name in field_names(leaf)]


def _drawn(feature: Feature, cells: list[Any], draw: np.random.Generator, now_us: int) -> list[Any]:
    """Values of a feature beside its cells, within its bounds."""
    present = [value for value in cells if value is not None]
    low = domain.read(feature, feature.min) if feature.min is not None else None
    high = domain.read(feature, feature.max) if feature.max is not None else None
    if feature.type in {"bool", "enum"}:
        return []
    if feature.type == "string":
        words = [str(value) for value in present]
        return [*words, *(word.upper() for word in words), *(f"{word} {word}" for word in words)]
    if feature.type in {"date", "timestamp"}:
        now = dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC)
        days = draw.exponential(200, DRAWS) * draw.choice([-1, 1], DRAWS)
        times: list[Any] = [now + dt.timedelta(days=float(each)) for each in days]
        found = times if feature.type == "timestamp" else [each.date() for each in times]
    else:
        first = float(low) if low is not None else -1e6
        last = float(high) if high is not None else 1e6
        wide = draw.uniform(first, last, DRAWS)
        near = np.clip(draw.lognormal(4, 4, DRAWS), first, last)
        numbers = [float(each) for each in (*wide, *near)]
        found = [domain.read_lenient(feature, _of_type(feature, each)) for each in numbers]
    return [
        each
        for each in found
        if each is not None and (low is None or each >= low) and (high is None or each <= high)
    ]


def _of_type(feature: Feature, value: float) -> Any:
    if feature.type == "int":
        return round(value)
    return round(value, feature.scale) if feature.type == "decimal" else value


def _objects(values: list[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
