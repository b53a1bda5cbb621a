"""Rules that can never be true, never be reached, or are always true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compiler.rules.analyse.grid import FALSE, TRUE, Grid
from compiler.rules.analyse.space import Space, exact
from compiler.rules.finding import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Cascade, Step

ALONE_ROWS = 20_000
"""Combinations of the cells of one rule that are tried; more are left to the table's own rows."""


class Reach:
    """Where each rule is read.

    Attributes:
        space: the rows.
        open: by path of a rule the rows on which it may be read, bool arrays of shape (rows,).
            Rules whose truth the cells do not show are taken to stop nothing, so that a row which
            is not there is certainly decided before.
        alone: by path the cells of the rule's own condition, where they show everything about it.
    """

    def __init__(self, rules: CompiledRules, space: Space) -> None:
        self.space = space
        self.strict = rules.on_unknown != "fallthrough"
        self.open: dict[str, NDArray[np.bool_]] = {}
        self._walk(rules.flat.cascade, np.ones(space.rows, np.bool_))
        self.alone: dict[str, Grid] = {}
        for step in rules.steps():
            if exact(step.rule.condition):
                grid = Grid([step.rule.condition], rules.scope, ALONE_ROWS)
                if grid.complete:
                    self.alone[step.path] = grid

    def _walk(self, cascade: Cascade, still: NDArray[np.bool_]) -> None:
        for step in cascade.steps:
            self.open[step.path] = still
            known = exact(step.rule.condition)
            value = self.space.grid.truth(step.rule.condition)
            if step.inner is not None:
                self._walk(step.inner, still & (value == TRUE) if known else still)
            if known:
                still = still & (value == FALSE if self.strict else value != TRUE)


def never_true(reach: Reach, step: Step) -> bool:
    """Proven: no request makes the condition TRUE."""
    grid = reach.alone.get(step.path)
    return grid is not None and not (grid.truth(step.rule.condition) == TRUE).any()


def always_true(reach: Reach, step: Step) -> bool:
    """Proven: every request makes the condition TRUE."""
    grid = reach.alone.get(step.path)
    return grid is not None and bool((grid.truth(step.rule.condition) == TRUE).all())


def unreached(rules: CompiledRules, reach: Reach) -> list[Finding]:
    """Contradictions, rules that nothing reaches, and rules that nothing passes."""
    found: list[Finding] = []
    silent: tuple[str, ...] = ()
    for step in rules.steps():
        if step.path.startswith(silent or ("\0",)):
            continue
        if never_true(reach, step):
            message = f"expected a condition that can be true, got one that never is in {step.path}"
            found.append(Finding("error", "contradiction", message, (step.path,), step.rule.at))
        elif not any(reach.space.first[leaf] >= 0 for leaf in step.leaves()):
            found.append(_unreachable(reach, step))
        else:
            if always_true(reach, step):
                found.append(_tautology(reach, step))
            continue
        silent += (step.path + "/",)
    return found


def _tautology(reach: Reach, step: Step) -> Finding:
    message = f"rule {step.path} is true for every request: nothing after it is read"
    row = reach.space.example(int(np.argmax(reach.open[step.path])))
    return Finding("warning", "tautology", message, (step.path,), step.rule.at, row)


def _unreachable(reach: Reach, step: Step) -> Finding:
    """No row takes it; a proof where every combination was tried and nothing hides behind cells."""
    fires = reach.space.fires(step.rule)
    proven = reach.space.complete and exact(step.rule.condition)
    if not proven or (fires & reach.open[step.path]).any():
        message = (
            f"found no request that rule {step.path} decides; that there is none is not proven"
        )
        return Finding(
            "note", "unreachable", message, (step.path,), step.rule.at, None, proven=False
        )
    message = f"rule {step.path} can never decide: whenever it is true an earlier rule has decided"
    example = reach.space.example(int(fires.argmax())) if fires.any() else None
    return Finding("error", "unreachable", message, (step.path,), step.rule.at, example)
