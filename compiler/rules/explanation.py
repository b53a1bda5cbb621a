"""Why a row took its route: every rule that was read, every leaf's value, every value read."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.flat import Cascade, Flat
from compiler.rules.print_text import print_condition

Kleene = Literal["T", "F", "U"]


class LeafTruth(Struct, frozen=True):
    """One test: its text, its value, and what it read."""

    test: str
    value: Kleene
    read: dict[str, Any]


class RuleTruth(Struct, frozen=True):
    """One rule that was read, in order."""

    rule: str
    value: Kleene
    leaves: tuple[LeafTruth, ...]


class Explanation(Struct, frozen=True):
    """A decision of a table on one row.

    Attributes:
        index: leaf that decided, -1-i when UNKNOWN rule i stops the reading.
        rule: its id.
        unknown: ids of UNKNOWN rules before it.
        rules: every rule read, the deciding one last.
    """

    index: int
    rule: str
    unknown: tuple[str, ...]
    rules: tuple[RuleTruth, ...]


def explain(flat: Flat, on_unknown: str, row: reference.Reader) -> Explanation:
    """The decision as the reference interpreter takes it, with every step."""
    seen: list[RuleTruth] = []
    unknown: list[str] = []
    index = _cascade(flat, flat.cascade, on_unknown, row, seen, unknown)
    rule = flat.ids[index] if index >= 0 else unknown[-1]
    return Explanation(index, rule, tuple(unknown), tuple(seen))


def decide(flat: Flat, on_unknown: str, row: reference.Reader) -> tuple[int, tuple[str, ...]]:
    """Index of the deciding leaf and the UNKNOWN rules before it; the meaning of a table."""
    unknown: list[str] = []
    return _cascade(flat, flat.cascade, on_unknown, row, None, unknown), tuple(unknown)


def _cascade(  # noqa: PLR0917 - one recursion, called twice in this file
    flat: Flat,
    cascade: Cascade,
    on_unknown: str,
    row: reference.Reader,
    seen: list[RuleTruth] | None,
    unknown: list[str],
) -> int:
    for step in cascade.steps:
        value = reference.truth(step.rule.condition, row)
        if seen is not None:
            leaves = tuple(leaf_truth(leaf, row) for leaf in leaves_of(step.rule.condition))
            seen.append(RuleTruth(step.path, letter(value), leaves))
        if value is True:
            if step.inner is None:
                return step.index
            return _cascade(flat, step.inner, on_unknown, row, seen, unknown)
        if value is None:
            unknown.append(step.path)
            if on_unknown != "fallthrough":
                return flat.unknown if flat.unknown >= 0 else -1 - step.index
    return cascade.default


def letter(value: bool | None) -> Kleene:
    """T, F or U."""
    return "U" if value is None else ("T" if value else "F")


def leaf_truth(node: ast.Leaf, row: reference.Reader) -> LeafTruth:
    """One test as the reference interpreter sees it."""
    read = {name: row.row.get(name) for name in field_names(node)}
    return LeafTruth(print_condition(node), letter(reference.truth(node, row)), read)


def leaves_of(node: ast.Condition) -> list[ast.Leaf]:
    """Leaves in document order."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return [leaf for part in parts for leaf in leaves_of(part)]
        case ast.Not(of=part):
            return leaves_of(part)
    return [node]
