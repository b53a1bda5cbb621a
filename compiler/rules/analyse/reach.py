"""Rules that can never be true, never be reached, or are always true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules.analyse.grid import FALSE, TRUE, Grid
from compiler.rules.analyse.space import Space, exact
from compiler.rules.analyse.suspects import Prover, Suspect, reached, suspects
from compiler.rules.finding import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Cascade, Step

ALONE_ROWS = 20_000
"""Combinations of the cells of one rule that are tried; more are left to the table's own rows."""
NAMED = 4
"""Rules that a message names at most."""


class Reach:
    """Where each rule is read.

    Attributes:
        space: the rows.
        open: by path of a rule the rows on which it may be read, bool arrays of shape (rows,).
            Rules whose truth the cells do not show are taken to stop nothing, so that a row which
            is not there is certainly decided before.
        alone: by path the cells of the rule's own condition, tests that cells do not show free;
            where there are not too many.
    """

    def __init__(self, rules: CompiledRules, space: Space) -> None:
        self.space = space
        self.strict = rules.on_unknown != "fallthrough"
        self.open: dict[str, NDArray[np.bool_]] = {}
        self._walk(rules.flat.cascade, np.ones(space.rows, np.bool_))
        self.alone: dict[str, Grid] = {}
        self._ever: dict[str, tuple[bool, bool]] = {}
        for step in rules.steps():
            grid = Grid([step.rule.condition], rules.scope, ALONE_ROWS, free=True)
            if grid.complete:
                self.alone[step.path] = grid
                true = grid.truth(step.rule.condition) == TRUE
                self._ever[step.path] = bool(true.any()), bool(true.all())

    def never_true(self, path: str) -> bool:
        """Proven: no request makes the condition of a rule TRUE."""
        return not self._ever.get(path, (True, False))[0]

    def always_true(self, path: str) -> bool:
        """Proven: every request makes the condition of a rule TRUE."""
        return self._ever.get(path, (True, False))[1]

    def _walk(self, cascade: Cascade, still: NDArray[np.bool_]) -> None:
        for step in cascade.steps:
            self.open[step.path] = still
            if not exact(step.rule.condition):
                if step.inner is not None:
                    self._walk(step.inner, still)
                continue
            value = self.space.grid.truth(step.rule.condition)
            if step.inner is not None:
                self._walk(step.inner, still & (value == TRUE))
            still = still & (value == FALSE if self.strict else value != TRUE)


def unreached(rules: CompiledRules, reach: Reach) -> list[Finding]:
    """Contradictions, rules that nothing reaches, and rules that nothing passes."""
    found: list[Finding] = []
    doubted = _doubted(rules, reach)
    prover = Prover(rules)
    silent: tuple[str, ...] = ()
    for step in rules.steps():
        if step.path.startswith(silent or ("\0",)):
            continue
        if reach.never_true(step.path):
            message = f"expected a condition that can be true, got one that never is in {step.path}"
            found.append(Finding("error", "contradiction", message, (step.path,), step.rule.at))
        elif step.path in doubted:
            found.append(_unreachable(rules, reach, step, doubted[step.path], prover))
        else:
            if reach.always_true(step.path):
                found.append(_tautology(reach, step))
            continue
        silent += (step.path + "/",)
    return found


def _tautology(reach: Reach, step: Step) -> Finding:
    message = f"rule {step.path} is true for every request: nothing after it is read"
    row = reach.space.example(int(np.argmax(reach.open[step.path])))
    return Finding("warning", "tautology", message, (step.path,), step.rule.at, row)


def _doubted(rules: CompiledRules, reach: Reach) -> dict[str, Suspect]:
    """Rules that no row reached, and of a sample none of the rows made for them."""
    steps = {step.path: step for step in rules.steps()}
    stopped = set((-1 - np.unique(reach.space.decided)).tolist())  # rules that stop as UNKNOWN
    wanted = {
        path
        for path, step in steps.items()
        if not any(reach.space.first[leaf] >= 0 for leaf in step.leaves())
        and (step.inner is None or stopped.isdisjoint(step.leaves()))
    }
    found = suspects(rules.flat.cascade, wanted)
    known: set[str] = set()
    if not reach.space.complete:
        known = reached(rules, reach.space, [s for s in found if not reach.never_true(s.step.path)])
    return {each.step.path: each for each in found if each.step.path not in known}


def _deciding(rules: CompiledRules, space: Space, where: NDArray[np.bool_]) -> str:
    """The rule that is true on all these rows, else those that decide them if they are few."""
    leaves = set(np.unique(space.decided[where]).tolist())
    for step in rules.flat.cascade.steps:
        if not leaves.isdisjoint(step.leaves()) and space.fires(step.rule)[where].all():
            return f"rule {step.path}"
    names = [rules.ids[leaf] for leaf in sorted(leaves) if leaf >= 0]
    known = len(names) == len(leaves) <= NAMED
    return f"one of {', '.join(names)}" if known else "an earlier rule"


def _unreachable(
    rules: CompiledRules, reach: Reach, step: Step, suspect: Suspect, prover: Prover
) -> Finding:
    """A proof where every combination was tried and nothing hides behind cells."""
    example: dict[str, Any] | None = None
    before = "an earlier rule"
    if reach.space.complete:
        fires = reach.space.fires(step.rule)
        proven = exact(step.rule.condition) and not (fires & reach.open[step.path]).any()
        if proven and fires.any():
            example = reach.space.example(int(fires.argmax()))
            before = _deciding(rules, reach.space, fires)
    else:
        example = prover.hidden(suspect)
        proven = example is not None
    rule, place = (step.path,), step.rule.at
    if not proven:
        message = (
            f"found no request that rule {step.path} decides; that there is none is not proven"
        )
        return Finding("note", "unreachable", message, rule, place, None, proven=False)
    message = f"rule {step.path} can never decide: whenever it is true {before} has decided"
    return Finding("error", "unreachable", message, rule, place, example)
