"""Sets of values of one feature, as tests against literals describe them.

On an ordered domain a set is a flag and sorted marks: a mark ``(value, after)`` is the cut just
before or just after a value, and membership toggles at each. Other domains (texts, booleans) have a
flag for every value and the words that differ from it. Operations take time linear in the size of
their arguments, times a logarithm for sorting.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compiler.rules import ast

if TYPE_CHECKING:
    from collections.abc import Sequence

Mark = tuple[Any, bool]
MAX_MEMBERS = 256
"""Cuts or words beyond which a list is not taken apart: a hash set tests it as fast."""


class Line(Struct, frozen=True):
    """A set of values of an ordered domain.

    Attributes:
        inside: whether values below every mark belong.
        marks: sorted cuts at which membership toggles.
    """

    inside: bool
    marks: tuple[Mark, ...]


class Words(Struct, frozen=True):
    """A set of texts or booleans.

    Attributes:
        inside: whether a value that is not listed belongs.
        other: the values for which the opposite holds.
    """

    inside: bool
    other: frozenset[Any]


Values = Line | Words


def values_of(node: ast.Condition) -> Values | None:
    """Where a test of one operand against literals is TRUE among present values, else None.

    Covers the tests that are never UNKNOWN on a present value and depend on nothing else.
    """
    match node:
        case ast.Compare(op=op, right=ast.Const(value=value)):
            return _compared(op, value)
        case ast.Distinct(right=ast.Const(value=value), negated=negated):
            return _compared("=" if negated else "!=", value)
        case ast.In(values=values, negated=negated) if 0 < len(values) <= MAX_MEMBERS:
            if _wordy(values[0]):
                return Words(negated, frozenset(values))
            found = combine([_compared("=", value) for value in values], every=False)
            return complement(found) if negated else found
        case ast.Between(low=low, high=high, negated=negated):
            return Line(negated, ((low, False), (high, True)))
    return None


def everything(like: Values, *, inside: bool = True) -> Values:
    """All values of the domain, or none."""
    return Line(inside, ()) if isinstance(like, Line) else Words(inside, frozenset())


def complement(values: Values) -> Values:
    """The values outside."""
    if isinstance(values, Line):
        return Line(not values.inside, values.marks)
    return Words(not values.inside, values.other)


def combine(sets: Sequence[Values], *, every: bool) -> Values:
    """Intersection (``every``) or union of sets of one domain."""
    first = sets[0]
    if len(sets) == 1:
        return first
    need = len(sets) if every else 1
    count = sum(values.inside for values in sets)
    step: Counter[Any] = Counter()
    if isinstance(first, Words):
        for values in sets:
            assert isinstance(values, Words)
            step.update(dict.fromkeys(values.other, -1 if values.inside else 1))
        inside = count >= need
        other = (word for word, change in step.items() if (count + change >= need) != inside)
        return Words(inside, frozenset(other))
    for values in sets:
        assert isinstance(values, Line)
        toggle = -1 if values.inside else 1
        for mark in values.marks:
            step[mark] += toggle
            toggle = -toggle
    inside = now = count >= need
    marks = []
    for mark in sorted(step):
        count += step[mark]
        if (count >= need) != now:
            now = not now
            marks.append(mark)
    return Line(inside, tuple(marks))


def _compared(op: ast.CompareOp, value: Any) -> Values:
    if _wordy(value):
        return Words(op == "!=", frozenset((value,)))
    if op in ("=", "!="):
        return Line(op == "!=", ((value, False), (value, True)))
    return Line(op in ("<", "<="), ((value, op in ("<=", ">")),))


def _wordy(value: Any) -> bool:
    return isinstance(value, bool | str)
