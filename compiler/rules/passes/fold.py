"""Fold what no row can change: arithmetic on literals, constant tests, groups that they decide.

A constant that is UNKNOWN (``1 / 0 > 2``) stays as written: there is no literal for it.
Growth bound: none, the tree never gains a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from compiler.rules import ast, reference
from compiler.rules.passes.negate import push_negation

if TYPE_CHECKING:
    from compiler.schema import FeatureMap

_NO_FEATURES: FeatureMap = {}


def fold(node: ast.Condition) -> ast.Condition:
    """The same condition with its constant parts evaluated."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            return _group(node, tuple(fold(part) for part in parts))
        case ast.Xor(of=parts):
            return _parity(node, tuple(fold(part) for part in parts))
        case ast.Not(of=part):
            inner = fold(part)
            if isinstance(inner, ast.Truth):
                return replace(inner, value=not inner.value)
            return replace(node, of=inner)
        case ast.Truth():
            return node
    return _leaf(node)


def _group(node: ast.And | ast.Or, parts: tuple[ast.Condition, ...]) -> ast.Condition:
    decides = isinstance(node, ast.Or)  # the value that settles the group
    if any(isinstance(part, ast.Truth) and part.value is decides for part in parts):
        return ast.Truth(decides, node.at)
    parts = tuple(part for part in parts if not isinstance(part, ast.Truth))
    return replace(node, of=parts) if parts else ast.Truth(not decides, node.at)


def _parity(node: ast.Xor, parts: tuple[ast.Condition, ...]) -> ast.Condition:
    flips = sum(1 for part in parts if isinstance(part, ast.Truth) and part.value)
    negated = node.negated != (flips % 2 == 1)
    parts = tuple(part for part in parts if not isinstance(part, ast.Truth))
    if not parts:
        return ast.Truth(negated, node.at)
    if len(parts) == 1:
        return push_negation(parts[0], negated=negated)
    return replace(node, of=parts, negated=negated)


def _leaf(node: ast.Leaf) -> ast.Condition:
    match node:
        case ast.Truth():
            return node
        case ast.Compare() | ast.Distinct():
            node = replace(node, left=fold_operand(node.left), right=fold_operand(node.right))
            operands = [node.left, node.right]
        case _:
            node = replace(node, operand=fold_operand(node.operand))
            operands = [node.operand]
    # One read of the clock leaves only Known constant; a relative time never is.
    clock = isinstance(node, ast.Known) and isinstance(operands[0], ast.Now)
    if not clock and not all(_constant(operand) for operand in operands):
        return node
    if isinstance(node, ast.Within):
        return node
    found = reference.truth(node, reference.Reader(_NO_FEATURES, {}))
    return node if found is None else ast.Truth(found, node.at)


def fold_operand(node: ast.Operand) -> ast.Operand:
    """Arithmetic whose arguments are all literals becomes one; a MISSING result stays."""
    if not isinstance(node, ast.Arith):
        return node
    args = tuple(fold_operand(arg) for arg in node.args)
    node = replace(node, args=args)
    if not all(isinstance(arg, ast.Const) for arg in args):
        return node
    found = reference.operand_value(node, reference.Reader(_NO_FEATURES, {}))
    return node if found is None else ast.Const(found, node.at)


def _constant(node: ast.Operand) -> bool:
    if isinstance(node, ast.Arith):
        return all(_constant(arg) for arg in node.args)
    return isinstance(node, ast.Const)
