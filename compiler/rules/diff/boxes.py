"""A set of cells as few conditions that people can read.

The set is split by one feature at a time, values that leave the same rest going together, as a
decision diagram would; what is left at the end are boxes, one condition per feature.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from compiler.rules import ast, domain
from compiler.rules.analyse.cells import literals_of
from compiler.rules.check import field_names
from compiler.rules.explanation import leaves_of
from compiler.rules.print_text import print_condition, print_name, print_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from compiler.schema import Feature, FeatureMap

Cell = tuple[int, ...]
Box = tuple[tuple[int, ...], ...]
"""Numbers of cells by feature."""
_TRUTH: dict[frozenset[bool | None], str] = {
    frozenset({True}): "{}",
    frozenset({False}): "NOT {}",
    frozenset({None}): "{} is unknown",
    frozenset({True, None}): "{} is not false",
    frozenset({False, None}): "{} is not true",
    frozenset({True, False}): "{} is not unknown",
}
WHOLE = 1e15
MAX_CELLS = 20_000
"""Larger sets are described by an example alone."""


def boxes_of(found: Iterable[Cell], width: int) -> list[Box]:
    """Boxes that make up a set of cells exactly, the largest first.

    Cost: cells x features, for each of the features that are left.
    """
    boxes = _split(frozenset(found), tuple(range(width)))
    placed = [tuple(box[place] for place in range(width)) for box in boxes]
    return sorted(placed, key=lambda box: -_size(box))


def _size(box: Box) -> int:
    size = 1
    for codes in box:
        size *= len(codes)
    return size


def _split(cells: frozenset[Cell], places: tuple[int, ...]) -> list[dict[int, tuple[int, ...]]]:
    """Boxes by place, each without the places that are not in ``places``."""
    if not places:
        return [{}]
    slices = []
    for at in range(len(places)):
        rests: dict[int, set[Cell]] = defaultdict(set)
        for cell in cells:
            rests[cell[at]].add(cell[:at] + cell[at + 1 :])
        alike: dict[frozenset[Cell], list[int]] = defaultdict(list)
        for code, rest in rests.items():
            alike[frozenset(rest)].append(code)
        slices.append((len(alike), at, alike))
        if len(alike) == 1:
            break
    _, at, alike = min(slices, key=lambda each: each[:2])
    left = places[:at] + places[at + 1 :]
    return [
        {places[at]: tuple(sorted(codes)), **box}
        for rest, codes in alike.items()
        for box in _split(rest, left)
    ]


class Words:
    """Conditions for numbers of cells.

    Args:
        values: cells by feature, as the grid has them.
        conditions: whose literals cut the domains.
        scope: features.
        tests: tests behind the names of :class:`compiler.rules.diff.atoms.Atoms`.
    """

    def __init__(
        self,
        values: Mapping[str, Sequence[Any]],
        conditions: Iterable[ast.Condition],
        scope: FeatureMap,
        tests: Mapping[str, tuple[ast.Leaf, bool]],
    ) -> None:
        self._values, self._scope, self._tests = values, scope, tests
        self._points: dict[str, set[Any]] = defaultdict(set)
        for condition in conditions:
            for leaf in leaves_of(condition):
                for name in field_names(leaf):
                    feature = scope[name]
                    read = [domain.read_lenient(feature, each) for each in literals_of(leaf)]
                    self._points[name].update(each for each in read if each is not None)
        for name in values:
            if name in scope and scope[name].type not in {"bool", "enum", "string"}:
                bounds = (scope[name].min, scope[name].max)
                self._points[name].update(
                    domain.read(scope[name], each) for each in bounds if each is not None
                )

    def box(self, box: Box) -> str:
        """A box as conditions joined by AND; ``any request`` when nothing is restricted."""
        parts = [
            text
            for (name, values), codes in zip(self._values.items(), box, strict=True)
            if len(codes) < len(values) and (text := self._part(name, list(values), list(codes)))
        ]
        return " AND ".join(parts) or "any request"

    def _part(self, name: str, values: list[Any], codes: list[int]) -> str:
        if name in self._tests:
            return self._test(name, [values[code] for code in codes])
        feature, shown = self._scope[name], print_name(name)
        missing = values[-1] is None
        gone = missing and len(values) - 1 in codes
        present = [code for code in codes if values[code] is not None]
        count = len(values) - missing
        if len(present) == count:
            return f"{shown} IS NOT NULL"
        if not present:
            return f"{shown} IS NULL"
        text = (
            self._words(shown, feature, values[:count], present, name)
            if feature.type in {"bool", "enum", "string"}
            else " OR ".join(
                self._run(shown, name, values[:count], low, high) for low, high in _runs(present)
            )
        )
        if gone:
            return f"({text} OR {shown} IS NULL)"
        return f"({text})" if " OR " in text else text

    def _words(
        self, shown: str, feature: Feature, values: list[Any], codes: list[int], name: str
    ) -> str:
        """Equality, or a list; what a text is not, where it may be any other."""
        others = [code for code in range(len(values)) if code not in codes]
        open_ended = feature.type == "string" and values[codes[-1]] not in self._points[name]
        if open_ended or len(others) < len(codes):
            codes, equal, within = others, "!=", "NOT IN"
        else:
            equal, within = "=", "IN"
        if len(codes) == 1:
            return f"{shown} {equal} {_literal(values[codes[0]])}"
        return f"{shown} {within} ({', '.join(_literal(values[code]) for code in codes)})"

    def _run(self, shown: str, name: str, values: list[Any], low: int, high: int) -> str:
        """Neighbouring cells of an ordered domain as bounds."""
        points = self._points[name]
        if low == high and values[low] in points:
            return f"{shown} = {_literal(values[low])}"
        first = last = ""
        if low > 0:
            at_point = values[low] in points
            first = (
                f">= {_literal(values[low])}" if at_point else (f"> {_literal(values[low - 1])}")
            )
        if high < len(values) - 1:
            at_point = values[high] in points
            last = (
                f"<= {_literal(values[high])}" if at_point else (f"< {_literal(values[high + 1])}")
            )
        return " AND ".join(f"{shown} {bound}" for bound in (first, last) if bound)

    def _test(self, name: str, values: list[Any]) -> str:
        """A named test, in the form in which it was written."""
        leaf, negated = self._tests[name]
        text = f"({print_condition(leaf)})"
        found = frozenset(value if value is None else value != negated for value in values)
        return _TRUTH[found].format(text)


def _literal(value: Any) -> str:
    """A literal as people write it: 50000, not 50000.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        return str(int(value))
    return print_value(value)


def _runs(codes: list[int]) -> list[tuple[int, int]]:
    """Neighbours together.

    >>> _runs([1, 2, 5])
    [(1, 2), (5, 5)]
    """
    found: list[tuple[int, int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found
