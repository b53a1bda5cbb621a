"""What generated code costs, in nanoseconds, so that a compiler can choose without a stopwatch.

The constants were measured once on CPython 3.11 at about 3 GHz, one operation in a loop less the
empty loop. Only their ratios matter: they order tests and choose between a chain and an index.
"""

from __future__ import annotations

import math

from compiler.rules import ast

READ = 15.0
"""One feature into a local, its class guarded."""
COMPARE = 6.0
MEMBER = 11.0
TEXT = 8.0
FOLD_CASE = 14.0
MATCH = 38.0
CLOCK = 120.0
ARITH = 30.0
KNOWN = 5.0
DISTINCT = 34.0
BISECT = 25.0
BISECT_STEP = 5.0
LOOKUP = 22.0
MASK = 12.0
MASK_WORD = 0.012
"""AND of two masks: a constant, and this for each bit."""
STEP = 60.0
"""Call of the function that settles one candidate rule."""
SHARED = 20.0
"""A test or sum from which keeping it in a local is cheaper than computing it again."""
SETTLER = 0.5
"""A function kept for one rule: memory and compile time, priced as time."""
TAIL = 45.0
"""From a mask to its first rule."""


def condition_cost(node: ast.Condition) -> float:
    """Expected nanoseconds of a negation-free condition whose features are read."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            total, reached = 0.0, 1.0
            for part in parts:
                total += reached * condition_cost(part)
                share = selectivity(part)
                reached *= share if isinstance(node, ast.And) else 1 - share
            return total
        case ast.Xor(of=parts):
            return sum(2 * condition_cost(part) for part in parts)
        case ast.Not(of=part):
            return condition_cost(part)
        case ast.Truth():
            return 1.0
        case ast.Compare(left=left, right=right):
            return COMPARE + operand_cost(left) + operand_cost(right)
        case ast.Distinct(left=left, right=right):
            return DISTINCT + operand_cost(left) + operand_cost(right)
        case ast.Text(op=op, ignore_case=ignore_case):
            base = MATCH if op == "matches" else TEXT + FOLD_CASE * ignore_case
        case ast.Within():
            base = CLOCK
        case ast.In():
            base = MEMBER
        case ast.Between():
            base = 1.5 * COMPARE
        case _:
            base = KNOWN
    return base + operand_cost(node.operand)


def operand_cost(node: ast.Operand) -> float:
    """Nanoseconds to compute an operand whose features are read."""
    if isinstance(node, ast.Arith):
        return ARITH + sum(operand_cost(arg) for arg in node.args)
    return 0.0


def selectivity(node: ast.Condition) -> float:
    """Assumed share of rows for which a condition is TRUE; only the order of shares matters."""
    match node:
        case ast.And(of=parts):
            return math.prod(selectivity(part) for part in parts)
        case ast.Or(of=parts):
            return 1 - math.prod(1 - selectivity(part) for part in parts)
        case ast.Xor():
            return 0.5
        case ast.Not(of=part):
            return 1 - selectivity(part)
        case ast.Truth(value=value) | ast.Known(value=value):
            return 1.0 if value else 0.0
        case ast.Compare(op=op):
            return {"=": 0.1, "!=": 0.9}.get(op, 0.5)
        case ast.Presence(op=op, negated=negated):
            share = {"notNull": 0.9, "isNotEmpty": 0.9}.get(op, 0.1)
        case ast.In(values=values, negated=negated):
            share = min(0.5, 0.1 * len(values))
        case ast.Distinct(negated=same):
            return 0.1 if same else 0.9
        case ast.Between(negated=negated) | ast.Text(negated=negated) | ast.Within(negated=negated):
            share = 0.25
    return 1 - share if negated else share


def probe_cost(cells: int, bits: int, *, ordered: bool) -> float:
    """Nanoseconds to read one feature and narrow a mask of ``bits`` rules by it."""
    find = BISECT + BISECT_STEP * math.log2(cells + 1) if ordered else LOOKUP
    return READ + find + MASK + MASK_WORD * bits
