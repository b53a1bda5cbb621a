"""The order of the passes: what emitters are given instead of the checked table.

Each pass keeps the value of a condition (TRUE, FALSE or UNKNOWN) on every row, and none grows it.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.flat import Cascade, Flat, Step
from compiler.rules.passes.absorb import absorb
from compiler.rules.passes.bare import bare
from compiler.rules.passes.dead import drop_dead
from compiler.rules.passes.flatten import flatten
from compiler.rules.passes.fold import fold
from compiler.rules.passes.negate import push_negation
from compiler.rules.passes.order import order_parts
from compiler.rules.passes.ranges import merge_ranges

PASSES = (bare, push_negation, fold, flatten, merge_ranges, absorb, fold, flatten, order_parts)


def optimise_condition(node: ast.Condition) -> ast.Condition:
    """The same condition without negations, constants, needless groups and tests."""
    for run in PASSES:
        node = run(node)
    return node


def optimise(flat: Flat, *, on_unknown: str) -> Flat:
    """The same table for emitters; leaves keep their numbers."""
    cascade = drop_dead(optimise_cascade(flat.cascade), fallthrough=on_unknown == "fallthrough")
    return replace(flat, cascade=cascade)


def optimise_cascade(cascade: Cascade) -> Cascade:
    """The same rules, none left out, with optimised conditions."""
    return replace(cascade, steps=tuple(_step(step) for step in cascade.steps))


def _step(step: Step) -> Step:
    rule = replace(step.rule, condition=optimise_condition(step.rule.condition))
    inner = None if step.inner is None else optimise_cascade(step.inner)
    return replace(step, rule=rule, inner=inner)
