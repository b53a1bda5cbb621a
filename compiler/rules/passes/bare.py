"""Drop places and sources, so that equal tests compare equal whoever wrote them.

Only for what is emitted; messages and explanations use the checked tree. Growth bound: none, the
tree keeps its shape.
"""

from __future__ import annotations

from msgspec.structs import replace

from compiler.rules import ast


def bare(node: ast.Condition) -> ast.Condition:
    """The condition with every ``at`` empty."""
    match node:
        case ast.And() | ast.Or() | ast.Xor():
            return replace(node, of=tuple(bare(part) for part in node.of), at="")
        case ast.Not():
            return replace(node, of=bare(node.of), at="")
        case ast.Truth():
            return replace(node, at="")
        case ast.Compare() | ast.Distinct():
            left, right = bare_operand(node.left), bare_operand(node.right)
            return replace(node, left=left, right=right, at="")
    return replace(node, operand=bare_operand(node.operand), at="")


def bare_operand(node: ast.Operand) -> ast.Operand:
    """The operand with every ``at`` empty."""
    if isinstance(node, ast.Arith):
        return replace(node, args=tuple(bare_operand(arg) for arg in node.args), at="")
    return replace(node, at="")
