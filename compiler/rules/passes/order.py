"""Put the parts of AND and OR in the order that settles the group soonest.

Sound because every test is a function of the row alone and both connectives are commutative over
three values; places and explanations use the checked tree, whose order people wrote. An AND asks
first what is cheap and rarely TRUE, an OR what is cheap and often TRUE; equals keep their order.
Growth bound: none, the tree keeps its size.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.cost import condition_cost, selectivity

_NEVER = 1e-9


def order_parts(node: ast.Condition) -> ast.Condition:
    """The same condition, the most decisive tests first."""
    match node:
        case ast.And(of=parts):
            parts = tuple(order_parts(part) for part in parts)
            return replace(node, of=tuple(sorted(parts, key=_cost_to_refuse)))
        case ast.Or(of=parts):
            parts = tuple(order_parts(part) for part in parts)
            return replace(node, of=tuple(sorted(parts, key=_cost_to_accept)))
        case ast.Xor(of=parts):
            return replace(node, of=tuple(order_parts(part) for part in parts))
    return node


def _cost_to_refuse(node: ast.Condition) -> float:
    return condition_cost(node) / max(1 - selectivity(node), _NEVER)


def _cost_to_accept(node: ast.Condition) -> float:
    return condition_cost(node) / max(selectivity(node), _NEVER)
