"""Rows that differ in one feature only: what its values, and its absence, make of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules

PROBED = 20_000_000
"""Rows times rules that one table may probe where not every combination was tried."""
PROBED_ROWS = 50_000
"""Rows, likewise: some tests take microseconds a row."""


class Lines:
    """Decisions along one feature.

    Attributes:
        name: the feature.
        values: its cells; None, for MISSING, comes last.
        decided: deciding leaf, shape (lines, cells); every other feature is the same in a line.
    """

    def __init__(
        self,
        name: str,
        values: list[Any],
        decided: NDArray[np.int16],
        row: Callable[[int, int], dict[str, Any]],
        now_us: int,
    ) -> None:
        self.name, self.values, self.decided, self.now_us = name, values, decided, now_us
        self._row = row

    def row(self, line: int, cell: int) -> dict[str, Any]:
        """One row as a flat mapping without what is MISSING."""
        return self._row(line, cell)


def lines(rules: CompiledRules, space: Space, name: str) -> Lines:
    """Decisions along a feature, of all contexts or of as many as the budget allows."""
    if name not in space.lines:
        found = _every(space, name) if space.complete else _probed(rules, space, name)
        space.lines[name] = found
    return space.lines[name]


def _every(space: Space, name: str) -> Lines:
    grid = space.grid
    sizes = [len(each) for each in grid.values.values()]
    axis = len(sizes) - 1 - list(grid.values).index(name)  # the first feature changes fastest
    shape = tuple(reversed(sizes))
    numbers = _along(np.arange(space.rows).reshape(shape), axis)
    decided = _along(space.decided.reshape(shape), axis)
    return Lines(
        name,
        grid.values[name],
        decided,
        lambda line, cell: grid.row(int(numbers[line, cell])),
        space.grid.now_us,
    )


def _along(cube: NDArray[Any], axis: int) -> NDArray[Any]:
    moved = np.moveaxis(cube, axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _probed(rules: CompiledRules, space: Space, name: str) -> Lines:
    """Sampled rows that a rule decides, each with every cell of the feature."""
    grid = space.grid
    values = grid.values[name]
    rows = min(PROBED_ROWS, PROBED // space.size)
    budget = rows // len(grid.values) // len(values)
    hit = np.flatnonzero(space.decided != rules.flat.cascade.default)
    base = hit[:budget]
    codes = {other: np.repeat(each[base], len(values)) for other, each in grid.codes.items()}
    codes[name] = np.tile(np.arange(len(values)), len(base))
    rows = len(base) * len(values)
    decided = rules.numpy(grid.columns(codes), rows, space.grid.now_us).reshape(
        len(base), len(values)
    )

    def row(line: int, cell: int) -> dict[str, Any]:
        number = line * len(values) + cell
        found = {other: grid.values[other][each[number]] for other, each in codes.items()}
        return {other: value for other, value in found.items() if value is not None}

    return Lines(name, values, decided, row, space.grid.now_us)
