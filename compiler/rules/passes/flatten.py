"""Open groups inside groups of the same kind, and groups of one part.

AND, OR and XOR are associative over three values, XOR's negation is a parity. A XOR is opened only
up to the number of parts that a written one may have, because its parts are emitted twice.
Growth bound: none, the tree never gains a node.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.limits import MAX_XOR
from compiler.rules.passes.negate import push_negation


def flatten(node: ast.Condition) -> ast.Condition:
    """The same condition with the fewest groups."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            kind = type(node)
            found: list[ast.Condition] = []
            for part in map(flatten, parts):
                found.extend(part.of if isinstance(part, kind) else (part,))
            return found[0] if len(found) == 1 else replace(node, of=tuple(found))
        case ast.Xor():
            return _xor(node)
        case ast.Not(of=part):
            return replace(node, of=flatten(part))
    return node


def _xor(node: ast.Xor) -> ast.Condition:
    parts = tuple(flatten(part) for part in node.of)
    opened: list[ast.Condition] = []
    negated = node.negated
    for part in parts:
        if isinstance(part, ast.Xor):
            opened.extend(part.of)
            negated = negated != part.negated
        else:
            opened.append(part)
    if len(opened) == 1:
        return push_negation(opened[0], negated=negated)
    if len(opened) <= MAX_XOR:
        return replace(node, of=tuple(opened), negated=negated)
    return replace(node, of=parts)
