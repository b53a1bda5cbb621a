"""Leave out rules that provably never decide, after their conditions were folded.

A rule that is FALSE on every row is not read, nor is anything behind one that is TRUE on every row,
nor a rule whose condition an earlier rule of the same cascade has: where it is TRUE the other was.
Under ``onUnknown: fallthrough`` "FALSE where present" counts as FALSE, because UNKNOWN does. Leaves
keep their numbers. Growth bound: none, rules are only left out.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.flat import Cascade, Step


def drop_dead(cascade: Cascade, *, fallthrough: bool) -> Cascade:
    """The same decisions with fewer rules; conditions must be folded and bare."""
    kept: list[Step] = []
    seen: set[ast.Condition] = set()
    for step in cascade.steps:
        condition = step.rule.condition
        if never(condition, fallthrough=fallthrough) or condition in seen:
            continue
        seen.add(condition)
        if step.inner is not None:
            step = replace(step, inner=drop_dead(step.inner, fallthrough=fallthrough))  # noqa: PLW2901
        kept.append(step)
        if condition == _ALWAYS:
            break
    return Cascade(tuple(kept), cascade.default)


_ALWAYS = ast.Truth(True)


def never(condition: ast.Condition, *, fallthrough: bool) -> bool:
    """Whether a folded condition decides no row."""
    match condition:
        case ast.Truth(value=value):
            return not value
        case ast.Known(value=value):
            return fallthrough and not value
        case ast.And(of=parts):
            return fallthrough and any(never(part, fallthrough=True) for part in parts)
    return False
