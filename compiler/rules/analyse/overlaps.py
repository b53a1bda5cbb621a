"""Rules of the outermost cascade that can be true together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.finding import Finding
from compiler.rules.print_table import print_consequent

if TYPE_CHECKING:
    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Step

OVERLAP_RULES = 64
"""Tables with more rules are not searched for overlaps: their number of pairs outgrows its use."""


def overlaps(rules: CompiledRules, space: Space) -> list[Finding]:
    """Pairs that disagree, so that their order decides; those that agree together in one note."""
    steps = rules.flat.cascade.steps
    if len(steps) > OVERLAP_RULES:
        message = (
            f"overlaps are searched in tables of at most {OVERLAP_RULES} rules, this one has "
            f"{len(steps)}; that there are none is not proven"
        )
        return [Finding("note", "overlap", message, proven=False)]
    deciding = [np.isin(space.decided, step.leaves()) for step in steps]
    masks = [space.fires(step.rule) for step in steps]
    found: list[Finding] = []
    agreeing: list[tuple[tuple[str, str], str, dict[str, Any]]] = []
    for first, second in combinations(range(len(steps)), 2):
        one, two = steps[first], steps[second]
        both = deciding[first] & masks[second]
        if not both.any() or all(space.first[leaf] < 0 for leaf in two.leaves()):
            continue
        row = space.example(int(both.argmax()))
        paths = (one.path, two.path)
        if outcome(one) == outcome(two):
            agreeing.append((paths, two.rule.at, row))
        else:
            message = (
                f"{one.path} and {two.path} can both be true and disagree; "
                f"{one.path} decides{_words(one, two)}"
            )
            found.append(Finding("warning", "overlap", message, paths, two.rule.at, row))
    if agreeing:
        paths, place, row = agreeing[0]
        others = f", and {len(agreeing) - 1} more pairs" if len(agreeing) > 1 else ""
        message = f"{' and '.join(paths)} can both be true and agree: their order is free{others}"
        found.append(Finding("note", "overlap", message, paths, place, row))
    return found


def _words(one: Step, two: Step) -> str:
    """What is answered and what is not, where neither is a cascade."""
    if isinstance(one.rule.consequent, ast.RulesConsequent):
        return ""
    if isinstance(two.rule.consequent, ast.RulesConsequent):
        return ""
    return f": {print_consequent(one.rule.consequent)}, not {print_consequent(two.rule.consequent)}"


def outcome(step: Step) -> object:
    """What a rule does, wherever it stands in the source."""
    return replace(step.rule.consequent, at="")
