"""Merge the literal tests of one operand within a group: one range, one set of members.

``x >= 1 AND x > 5 AND x < 9`` is ``x > 5 AND x < 9``; ``x = 1 OR x = 2`` is ``x IN (1, 2)``; what
leaves nothing is "FALSE where present". All tests merged are UNKNOWN exactly where the operand is
MISSING, so the merged one is too. A merge that would not save a test is not made.
Growth bound: none, the tree never gains a node.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from compiler.rules import ast
from compiler.rules.spans import Line, Values, Words, combine, values_of


def merge_ranges(node: ast.Condition) -> ast.Condition:
    """The same condition with the tests of each operand merged where that saves one."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            return replace(node, of=_merged(node, tuple(merge_ranges(part) for part in parts)))
        case ast.Xor(of=parts):
            return replace(node, of=tuple(merge_ranges(part) for part in parts))
        case ast.Not(of=part):
            return replace(node, of=merge_ranges(part))
    return node


def _merged(node: ast.And | ast.Or, parts: tuple[ast.Condition, ...]) -> tuple[ast.Condition, ...]:
    every = isinstance(node, ast.And)
    groups: dict[ast.Operand, list[tuple[ast.Condition, Values]]] = {}
    for part in parts:
        found = None if isinstance(part, ast.Distinct) else values_of(part)
        if found is not None:
            operand = part.left if isinstance(part, ast.Compare) else part.operand  # type: ignore[union-attr]
            groups.setdefault(operand, []).append((part, found))
    if all(len(group) == 1 for group in groups.values()):
        return parts
    result = list(parts)
    for operand, group in groups.items():
        if len(group) == 1:
            continue
        leaves = leaves_for(operand, combine([values for _, values in group], every=every), every)
        if leaves is None or len(leaves) >= len(group):
            continue
        first = result.index(group[0][0])
        gone = {id(part) for part, _ in group}
        result[first:] = [*leaves, *(part for part in result[first:] if id(part) not in gone)]
    return tuple(result)


def leaves_for(operand: ast.Operand, values: Values, every: bool) -> list[ast.Condition] | None:
    """Tests whose AND (``every``) or OR is the set, None when no short form exists."""
    if isinstance(values, Words):
        if not values.other:
            return [ast.Known(operand, values.inside)]
        return [_members(operand, sorted(values.other), negated=values.inside)]
    if not values.marks:
        return [ast.Known(operand, values.inside)]
    if every:
        return _interval(operand, values)
    return _union(operand, values)


def _interval(operand: ast.Operand, values: Line) -> list[ast.Condition] | None:
    """One range, or everything but a few points."""
    marks = values.marks
    if values.inside:
        if len(marks) == 1:
            return [_below(operand, marks[0])]
        points = _points(marks)
        return None if points is None else [_members(operand, points, negated=True)]
    if len(marks) > 2:
        points = _points(marks)
        return None if points is None else [_members(operand, points, negated=False)]
    low = _above(operand, marks[0])
    if len(marks) == 1:
        return [low]
    if not marks[0][1] and marks[1][1]:
        if marks[0][0] == marks[1][0]:
            return [ast.Compare(operand, "=", ast.Const(marks[0][0]))]
        return [ast.Between(operand, marks[0][0], marks[1][0])]
    return [low, _below(operand, marks[1])]


def _union(operand: ast.Operand, values: Line) -> list[ast.Condition] | None:
    """Ranges that each are one test; single points together."""
    marks = list(values.marks)
    found: list[ast.Condition] = []
    if values.inside:
        points = _points(values.marks)
        if points is not None:
            return [_members(operand, points, negated=True)]
        found.append(_below(operand, marks.pop(0)))
    last = _above(operand, marks.pop()) if len(marks) % 2 else None
    points = []
    for low, high in zip(marks[::2], marks[1::2], strict=True):
        if low[1] or not high[1]:
            return None
        if low[0] == high[0]:
            points.append(low[0])
        else:
            found.append(ast.Between(operand, low[0], high[0]))
    if points:
        found.insert(0, _members(operand, points, negated=False))
    return [*found, last] if last is not None else found


def _points(marks: tuple[tuple[Any, bool], ...]) -> list[Any] | None:
    """The values when the marks enclose single points."""
    if len(marks) % 2:
        return None
    pairs = list(zip(marks[::2], marks[1::2], strict=True))
    if any(low[0] != high[0] for low, high in pairs):
        return None
    return [low[0] for low, _ in pairs]


def _members(operand: ast.Operand, values: list[Any], *, negated: bool) -> ast.Condition:
    if len(values) == 1:
        return ast.Compare(operand, "!=" if negated else "=", ast.Const(values[0]))
    return ast.In(operand, tuple(values), negated)


def _below(operand: ast.Operand, mark: tuple[Any, bool]) -> ast.Condition:
    return ast.Compare(operand, "<=" if mark[1] else "<", ast.Const(mark[0]))


def _above(operand: ast.Operand, mark: tuple[Any, bool]) -> ast.Condition:
    return ast.Compare(operand, ">" if mark[1] else ">=", ast.Const(mark[0]))
