"""Push negation into the leaves: sound because NOT keeps UNKNOWN.

Afterwards AND and OR are monotone, so "is the condition TRUE" is the two-valued reading in which
every UNKNOWN leaf counts as FALSE. Growth bound: none, the tree keeps its size.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast

_OPPOSITE: dict[ast.CompareOp, ast.CompareOp] = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
}
_PRESENCE: dict[str, ast.PresenceOp] = {
    "null": "notNull",
    "notNull": "null",
    "isEmpty": "isNotEmpty",
    "isNotEmpty": "isEmpty",
}


def push_negation(node: ast.Condition, *, negated: bool = False) -> ast.Condition:
    """The same condition (its opposite when ``negated``) without any ``Not``."""
    match node:
        case ast.Not(of=part):
            return push_negation(part, negated=not negated)
        case ast.And(of=parts) | ast.Or(of=parts):
            kind = ast.And if isinstance(node, ast.And) != negated else ast.Or
            return kind(tuple(push_negation(part, negated=negated) for part in parts), node.at)
        case ast.Xor(of=parts):
            inner = tuple(push_negation(part) for part in parts)
            return replace(node, of=inner, negated=node.negated != negated)
    return opposite(node) if negated else node


def opposite(node: ast.Leaf) -> ast.Leaf:
    """The leaf that is TRUE where this one is FALSE, and UNKNOWN where it is."""
    match node:
        case ast.Truth() | ast.Known():
            return replace(node, value=not node.value)
        case ast.Compare(op=op):
            return replace(node, op=_OPPOSITE[op])
        case ast.Presence(op=op) if op in _PRESENCE:
            return replace(node, op=_PRESENCE[op])
        case _:
            return replace(node, negated=not node.negated)
