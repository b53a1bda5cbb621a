"""Rules of the outermost cascade that can be true together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.analyse.space import exact
from compiler.rules.finding import Finding
from compiler.rules.print_table import print_consequent

if TYPE_CHECKING:
    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Step

OVERLAP_RULES = 64
"""Tables with more rules are not searched for overlaps: their number of pairs outgrows its use."""


def overlaps(rules: CompiledRules, space: Space) -> list[Finding]:
    """Pairs that disagree, so that their order decides.

    Those that agree are told together in one note, and so are special cases before what they are
    cases of: a ladder such as ``< 0.3``, then ``< 0.5`` can be meant in one order only.
    """
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
    agreeing: list[Finding] = []
    special: list[Finding] = []
    for first, second in combinations(range(len(steps)), 2):
        one, two = steps[first], steps[second]
        both = deciding[first] & masks[second]
        if not both.any() or all(space.first[leaf] < 0 for leaf in two.leaves()):
            continue
        row = space.example(int(both.argmax()))
        paths = (one.path, two.path)
        words = f"{one.path} and {two.path} can both be true and "
        if outcome(one) == outcome(two):
            message = f"{words}agree: their order is free"
            agreeing.append(Finding("note", "overlap", message, paths, two.rule.at, row))
        elif _within(one, two, masks[first] & ~masks[second], space):
            message = f"{one.path} is a special case of {two.path} and decides before it"
            special.append(Finding("note", "overlap", message, paths, two.rule.at, row))
        else:
            message = f"{words}disagree; {one.path} decides{_words(one, two)}"
            found.append(Finding("warning", "overlap", message, paths, two.rule.at, row))
    for notes in (special, agreeing):
        if notes:
            others = f", and {len(notes) - 1} more pairs" if len(notes) > 1 else ""
            found.append(replace(notes[0], message=notes[0].message + others))
    return found


def _within(one: Step, two: Step, alone: Any, space: Space) -> bool:
    """Whether it is proved that the first rule is never true without the second."""
    proved = space.complete and exact(one.rule.condition) and exact(two.rule.condition)
    return proved and not alone.any()


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
