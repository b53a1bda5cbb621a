"""Drop parts of a group that another part makes idle: ``A AND A``, ``A OR (A AND B)``.

AND and OR are the least and the greatest of a chain, so a part whose tests include all those of
another is never the one that decides. Nothing is said of ``A OR NOT A``: it can be UNKNOWN.
Growth bound: none, the tree never gains a node. Time: quadratic in the parts of a group up to
:data:`MAX_PARTS`; beyond it only equal parts are dropped.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast

MAX_PARTS = 64


def absorb(node: ast.Condition) -> ast.Condition:
    """The same condition without idle parts."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            kept = tuple(dict.fromkeys(absorb(part) for part in parts))
            if 1 < len(kept) <= MAX_PARTS:
                kept = _needed(kept, ast.Or if isinstance(node, ast.And) else ast.And)
            return replace(node, of=kept)
        case ast.Xor(of=parts):
            return replace(node, of=tuple(absorb(part) for part in parts))
        case ast.Not(of=part):
            return replace(node, of=absorb(part))
    return node


def _needed(
    parts: tuple[ast.Condition, ...], inner: type[ast.And | ast.Or]
) -> tuple[ast.Condition, ...]:
    """Parts whose tests do not include all those of another part."""
    tests = [
        frozenset(part.of) if isinstance(part, inner) else frozenset((part,)) for part in parts
    ]
    return tuple(
        part
        for place, part in enumerate(parts)
        if not any(
            other < tests[place] or (other == tests[place] and number < place)
            for number, other in enumerate(tests)
            if number != place
        )
    )
