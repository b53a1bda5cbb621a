"""A cascade as bits: each rule as boxes, a box as sets of values per feature and what is left over.

A condition is brought to a bounded OR of ANDs. Parts of an AND that test one feature against
literals become a set of values; parts that read two features, texts by pattern, sums or the clock
are left over and tested on the few rules that remain. A box stands for "may decide": under
``fallthrough`` that is TRUE, otherwise everything but FALSE, as an UNKNOWN rule then decides too.
Growth bound: at most :data:`MAX_BOXES` boxes a rule, none with more parts than the rule has tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.spans import MAX_MEMBERS, Line, Values, Words, combine, everything, values_of

if TYPE_CHECKING:
    from compiler.rules.flat import Cascade, Step
    from compiler.schema import Feature, FeatureMap

MAX_BOXES = 16
_WORDY = frozenset({"bool", "string", "enum"})
_ALWAYS = ast.Truth(True)


class Side(Struct, frozen=True):
    """What a box allows of one feature.

    Attributes:
        values: the present values with which the rule may decide.
        missing: whether it may decide when the feature is MISSING.
        parts: the tests that this stands for.
    """

    values: Values
    missing: bool
    parts: tuple[ast.Condition, ...]


class Box(Struct, frozen=True):
    """One way in which a rule may decide.

    Attributes:
        step: the rule.
        sides: by feature.
        rest: tests that no side stands for.
        whole: whether the rule is this box alone.
    """

    step: Step
    sides: dict[str, Side]
    rest: tuple[ast.Condition, ...]
    whole: bool


def boxes_of(cascade: Cascade, features: FeatureMap, *, fallthrough: bool) -> list[Box]:
    """Boxes of the rules of one cascade, in the order in which rules are read."""
    found: list[Box] = []
    for step in cascade.steps:
        ways = disjuncts(step.rule.condition)
        for way in ways:
            box = _box(step, way, features, fallthrough=fallthrough, whole=len(ways) == 1)
            if box is not None:
                found.append(box)
    return found


def disjuncts(node: ast.Condition) -> list[tuple[ast.Condition, ...]]:
    """ANDs whose OR is the condition; the condition itself when there would be too many."""
    found = _ways(node)
    return [(node,)] if found is None else found


def _ways(node: ast.Condition) -> list[tuple[ast.Condition, ...]] | None:
    if isinstance(node, ast.Or) and not _about_one(node):
        ways: list[tuple[ast.Condition, ...]] = []
        for part in node.of:
            inner = _ways(part)
            if inner is None or len(ways) + len(inner) > MAX_BOXES:
                return None
            ways.extend(inner)
        return ways
    if isinstance(node, ast.And):
        product: list[tuple[ast.Condition, ...]] = [()]
        for part in node.of:
            inner = _ways(part)
            if inner is None or len(product) * len(inner) > MAX_BOXES:
                inner = [(part,)]
            product = [(*left, *right) for left in product for right in inner]
        return product
    return [(node,)]


def _about_one(node: ast.Condition) -> bool:
    return len(field_names(node)) == 1 and sides_values(node) is not None


def _box(
    step: Step,
    way: tuple[ast.Condition, ...],
    features: FeatureMap,
    *,
    fallthrough: bool,
    whole: bool,
) -> Box | None:
    """The box of one AND; None when no row can be in it."""
    tests: dict[str, list[tuple[ast.Condition, Values]]] = {}
    rest: list[ast.Condition] = []
    for part in way:
        if part == _ALWAYS:
            continue
        names = field_names(part)
        values = sides_values(part) if len(names) == 1 else None
        if values is None and len(names) == 1:
            values = _presence_values(part, features[names[0]])
        if values is None or not _fits(values, features[names[0]]):
            rest.append(part)
        else:
            tests.setdefault(names[0], []).append((part, values))
    sides = {}
    for name, found in tests.items():
        parts = tuple(part for part, _ in found)
        values = combine([values for _, values in found], every=True)
        side = Side(values, _missing(parts, name, features, fallthrough=fallthrough), parts)
        if side.values == everything(values, inside=False) and not side.missing:
            return None
        sides[name] = side
    return Box(step, sides, tuple(rest), whole)


def _missing(
    parts: tuple[ast.Condition, ...], name: str, features: FeatureMap, *, fallthrough: bool
) -> bool:
    row = reference.Reader({name: features[name]}, {})
    value = reference.truth(ast.And(parts), row)
    return value is True if fallthrough else value is not False


def sides_values(node: ast.Condition) -> Values | None:
    """Where a condition on one feature is TRUE among present values; None when it asks otherwise.

    A condition that consists of presence tests alone has no domain of its own and is None too.
    """
    match node:
        case ast.And(of=parts) | ast.Or(of=parts):
            found = [sides_values(part) for part in parts]
            known = [values for values in found if values is not None]
            if len(known) < len(found):
                if not known:
                    return None
                again = [_constant(part, known[0]) for part in parts]
                known = [
                    values if values is not None else other  # type: ignore[misc]
                    for values, other in zip(found, again, strict=True)
                ]
                if any(values is None for values in known):
                    return None
            return combine(known, every=isinstance(node, ast.And))
        case ast.Compare(left=ast.Field()) | ast.Distinct(left=ast.Field()):
            return values_of(node)
        case ast.In(operand=ast.Field()) | ast.Between(operand=ast.Field()):
            return values_of(node)
        case ast.Presence(operand=ast.Field(), op="isEmpty" | "isNotEmpty", negated=negated):
            return Words((node.op == "isNotEmpty") != negated, frozenset(("",)))
    return None


def _presence_values(node: ast.Condition, feature: Feature) -> Values | None:
    """Presence tests and constants, whose answer is the same for all present values."""
    like: Values = Words(False, frozenset()) if feature.type in _WORDY else Line(False, ())
    return _constant(node, like)


def _constant(node: ast.Condition, like: Values) -> Values | None:
    match node:
        case ast.Known(operand=ast.Field(), value=value):
            return everything(like, inside=value)
        case ast.Presence(operand=ast.Field(), op="null" | "notNull", negated=negated):
            return everything(like, inside=(node.op == "notNull") != negated)
    return None


def _fits(values: Values, feature: Feature) -> bool:
    """Whether the set is one of the feature's domain and of a size worth indexing."""
    if isinstance(values, Words):
        return feature.type in _WORDY and len(values.other) <= MAX_MEMBERS
    return feature.type not in _WORDY and len(values.marks) <= 2 * MAX_MEMBERS
