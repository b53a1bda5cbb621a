"""Find the costly tests and sums that a cascade computes more than once.

The emitter keeps each in a local the first time a row needs it; a test that no row reaches is still
never computed. Growth bound: none, the tree is only read; at most one local for every two uses.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from compiler.rules import ast
from compiler.rules.cost import SHARED, condition_cost

if TYPE_CHECKING:
    from compiler.rules.flat import Cascade

Shared = ast.Leaf | ast.Arith


def shared_parts(cascade: Cascade) -> frozenset[Shared]:
    """Costly leaves and arithmetic that occur at least twice in bare conditions."""
    seen: Counter[Shared] = Counter()
    stack: list[ast.Condition] = []
    cascades = [cascade]
    while cascades:
        for step in cascades.pop().steps:
            stack.append(step.rule.condition)
            if step.inner is not None:
                cascades.append(step.inner)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.And | ast.Or | ast.Xor):
            stack.extend(node.of)
        elif isinstance(node, ast.Not):
            stack.append(node.of)
        elif condition_cost(node) >= SHARED:
            _count(node, seen)
    return frozenset(part for part, times in seen.items() if times > 1)


def _count(node: ast.Leaf, seen: Counter[Shared]) -> None:
    """Count a leaf, and the arithmetic in it once per distinct leaf."""
    seen[node] += 1
    if seen[node] > 1:
        return
    for name in ("left", "right", "operand"):
        operand = getattr(node, name, None)
        if isinstance(operand, ast.Arith):
            seen[operand] += 1
