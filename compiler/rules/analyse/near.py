"""Near-gaps: a single value, or a sliver, that rules on both sides leave to the default."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from compiler.rules import ast, domain
from compiler.rules.analyse.cells import literals_of
from compiler.rules.analyse.lines import Lines, lines
from compiler.rules.check import field_names
from compiler.rules.explanation import leaves_of
from compiler.rules.finding import Finding
from compiler.rules.print_text import print_name, print_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from compiler.rules.analyse.space import Space
    from compiler.rules.compiled import CompiledRules
    from compiler.schema import Feature

WORDS = 3
"""An enum of fewer values has no value that all the others surround."""
RELATIVE = decimal.Decimal("0.05")
"""Share of its bounds up to which an interval of one unit in their last written place is small."""
ROUNDING = decimal.Decimal("1e-9")
"""Share of its bounds up to which any interval is small."""
_STEPS: dict[str, Any] = {"int": 1, "date": dt.timedelta(days=1)}
_SECOND = dt.timedelta(seconds=1)


class Sliver(Struct, frozen=True):
    """Neighbouring cells that a reader would take for a boundary.

    Attributes:
        start: first cell.
        stop: last cell.
        words: the values, for people.
        low: the literal at or below it.
        high: the literal at or above it.
    """

    start: int
    stop: int
    words: str
    low: Any
    high: Any


def near_gaps(rules: CompiledRules, space: Space) -> list[Finding]:
    """One finding per feature and sliver, with a row that only the default decides.

    A value that some test names for itself (``=``, ``!=``, ``IN``) was thought of and is none.
    """
    found: list[Finding] = []
    tests: dict[str, list[ast.Leaf]] = {}
    for step in rules.steps():
        for leaf in leaves_of(step.rule.condition):
            for name in field_names(leaf):
                tests.setdefault(name, []).append(leaf)
    for name, values in space.grid.values.items():
        feature = rules.scope[name]
        about = tests[name]
        if feature.type == "enum":
            if len(feature.values) >= WORDS:
                found += _words(rules, lines(rules, space, name), about)
        elif feature.type not in ("bool", "string"):
            small = list(slivers(name, feature, [v for v in values if v is not None], about))
            if small:
                found += _between(rules, lines(rules, space, name), small, about)
    return found


def slivers(
    name: str, feature: Feature, values: list[Any], about: list[ast.Leaf]
) -> Iterator[Sliver]:
    """Runs of up to three cells that are next to nothing and that no test names."""
    read = (domain.read_lenient(feature, v) for leaf in about for v in literals_of(leaf))
    bounds = (domain.read(feature, b) for b in (feature.min, feature.max) if b is not None)
    points = {*read, *bounds}
    named = {
        domain.read_lenient(feature, value)
        for leaf in about
        if not isinstance(leaf, ast.Compare) or leaf.op in ("=", "!=")
        for value in literals_of(leaf)
        if not isinstance(leaf, ast.Between) or leaf.negated
    }
    for start in range(1, len(values) - 1):
        for stop in range(start, min(start + 3, len(values) - 1)):
            run = values[start : stop + 1]
            opened, closed = run[0] not in points, run[-1] not in points
            low = values[start - 1] if opened else run[0]
            high = values[stop + 1] if closed else run[-1]
            if not named.isdisjoint(run) or (opened and low not in points) or high not in points:
                continue
            if start == stop and not opened:
                yield Sliver(start, stop, f"{print_name(name)} = {print_value(low)}", low, high)
            elif _small(feature, low, high, opened=opened, closed=closed):
                words = _interval(name, feature, run, low, high, opened=opened, closed=closed)
                yield Sliver(start, stop, words, low, high)


def _interval(
    name: str, feature: Feature, run: list[Any], low: Any, high: Any, *, opened: bool, closed: bool
) -> str:
    if _one_step(feature, low, high, opened=opened, closed=closed):
        return f"{print_name(name)} = {print_value(run[0])}"
    left, right = "<" if opened else "<=", "<" if closed else "<="
    return f"{print_value(low)} {left} {print_name(name)} {right} {print_value(high)}"


def _small(feature: Feature, low: Any, high: Any, *, opened: bool, closed: bool) -> bool:
    """One whole number or day, a second, or one unit in the last place people wrote."""
    if _one_step(feature, low, high, opened=opened, closed=closed):
        return True
    if feature.type in _STEPS:
        return False
    if feature.type == "timestamp":
        return bool(high - low <= _SECOND)
    if float(high - low) > float(RELATIVE) * max(abs(float(low)), abs(float(high))):
        return False
    one, two = _written(feature, low), _written(feature, high)
    width, size = two - one, max(abs(one), abs(two))
    places = min(_exponent(one), _exponent(two))
    unit = decimal.Decimal(1).scaleb(places)
    return width <= ROUNDING * size or width <= unit


def _one_step(feature: Feature, low: Any, high: Any, *, opened: bool, closed: bool) -> bool:
    """Whether a discrete domain has one value there."""
    step = _STEPS.get(feature.type)
    if feature.type == "decimal":
        step = decimal.Decimal(1).scaleb(-feature.scale)
    if step is None:
        return False
    first, last = low + step if opened else low, high - step if closed else high
    return bool(first == last)


def _exponent(value: decimal.Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return min(0, exponent) if isinstance(exponent, int) else 0


def _written(feature: Feature, value: Any) -> decimal.Decimal:
    if feature.type == "float32":
        return decimal.Decimal(str(np.float32(value)))
    return value if isinstance(value, decimal.Decimal) else decimal.Decimal(repr(value))


def _between(
    rules: CompiledRules, along: Lines, small: list[Sliver], about: list[ast.Leaf]
) -> Iterator[Finding]:
    by_default, by_rule = _deciders(rules, along)
    for sliver in small:
        hole = by_default[:, sliver.start : sliver.stop + 1].all(axis=1)
        hole &= by_rule[:, sliver.start - 1] & by_rule[:, sliver.stop + 1]
        if not hole.any():
            continue
        line = int(hole.argmax())
        sides = [
            rules.reference(along.row(line, cell), along.now_us)[0]
            for cell in (sliver.start - 1, sliver.stop + 1)
        ]
        below, above = (rules.ids[side] for side in sides)
        message = (
            f"only the default{_within(rules, along, line, sliver.start)} decides where "
            f"{sliver.words}; just below rule {below} does, "
            f"just above rule {above}"
        )
        bounding = (leaf.at for leaf in about if {sliver.low, sliver.high} & {*literals_of(leaf)})
        yield Finding(
            "warning",
            "near-gap",
            message,
            tuple(dict.fromkeys((below, above))),
            next(bounding, ""),
            along.row(line, sliver.start),
        )


def _deciders(rules: CompiledRules, along: Lines) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a default decides, that of a nested cascade included, and where a rule does."""
    by_default = np.isin(along.decided, [*rules.flat.defaults()])
    return by_default, (along.decided >= 0) & (along.decided != rules.flat.unknown) & ~by_default


def _within(rules: CompiledRules, along: Lines, line: int, cell: int) -> str:
    outer = rules.ids[int(along.decided[line, cell])].rpartition("/")[0]
    return f" of {outer}" if outer else ""


def _words(rules: CompiledRules, along: Lines, about: list[ast.Leaf]) -> Iterator[Finding]:
    """A word that no test names while every other one is decided by a rule."""
    by_default, by_rule = _deciders(rules, along)
    present = [cell for cell, value in enumerate(along.values) if value is not None]
    named = {value for leaf in about for value in literals_of(leaf)}
    for cell in present:
        if along.values[cell] in named:
            continue
        others = [other for other in present if other != cell]
        hole = by_rule[:, others].all(axis=1) & by_default[:, cell]
        if hole.any():
            line = int(hole.argmax())
            row = along.row(line, cell)
            message = (
                f"only the default{_within(rules, along, line, cell)} decides where "
                f"{print_name(along.name)} = "
                f"{print_value(along.values[cell])}; a rule does for each of the other "
                f"{len(others)} values"
            )
            place = next((leaf.at for leaf in about if leaf.at), "")
            yield Finding("note", "near-gap", message, ("default",), place, row)
