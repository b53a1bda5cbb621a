"""Leaves of a cascade with one index each: what generated code returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from compiler.rules import ast

if TYPE_CHECKING:
    from collections.abc import Iterator


class Step(Struct, frozen=True):
    """One rule of a cascade, ready to be emitted.

    Attributes:
        rule: the rule.
        path: its id with those of the cascades around it, ``outer/inner``.
        index: index of its consequent; of its first leaf when it is a nested cascade.
        inner: the nested cascade, if any.
    """

    rule: ast.Rule
    path: str
    index: int
    inner: Cascade | None = None

    def leaves(self) -> range:
        """Indices of the consequents that the rule leads to."""
        return range(self.index, (self.index if self.inner is None else self.inner.default) + 1)


class Cascade(Struct, frozen=True):
    """Steps in order, and the index of the default."""

    steps: tuple[Step, ...]
    default: int


class Flat(Struct, frozen=True):
    """A table with numbered leaves.

    Attributes:
        cascade: what to emit.
        ids: rule id per leaf; the last is ``default``.
        consequents: consequent per leaf.
        unknown: index of the consequent of UNKNOWN rules, or -1.
    """

    cascade: Cascade
    ids: tuple[str, ...]
    consequents: tuple[ast.LeafConsequent, ...]
    unknown: int

    def defaults(self) -> set[int]:
        """Indices of the defaults of all cascades."""
        inner = {step.inner.default for step in all_steps(self.cascade) if step.inner is not None}
        return inner | {self.cascade.default}


def number_leaves(table: ast.Table) -> Flat:
    """One index per leaf, in document order; the table's default is the last."""
    ids: list[str] = []
    found: list[ast.LeafConsequent] = []

    def leaf(name: str, consequent: ast.LeafConsequent) -> int:
        ids.append(name)
        found.append(consequent)
        return len(ids) - 1

    def steps(rules: tuple[ast.Rule, ...], prefix: str) -> Iterator[Step]:
        for rule in rules:
            path = prefix + rule.id
            first = len(ids)
            if isinstance(rule.consequent, ast.RulesConsequent):
                inner = nested(rule.consequent, path + "/")
                yield Step(rule, path, first, inner)
            else:
                yield Step(rule, path, leaf(path, rule.consequent))

    def nested(cascade: ast.RulesConsequent, prefix: str) -> Cascade:
        inner = tuple(steps(cascade.rules, prefix))
        return Cascade(inner, default(cascade.default, prefix))

    def default(consequent: ast.Consequent, prefix: str) -> int:
        if isinstance(consequent, ast.RulesConsequent):
            raise TypeError(prefix)  # refused by the parsers: a default is a leaf
        return leaf(prefix + "default", consequent)

    top = tuple(steps(table.rules, ""))
    unknown = -1
    if not isinstance(table.on_unknown, str):
        unknown = leaf("unknown", table.on_unknown)
    return Flat(Cascade(top, default(table.default, "")), tuple(ids), tuple(found), unknown)


def all_steps(cascade: Cascade) -> Iterator[Step]:
    """Every step, outer before inner, in document order."""
    for step in cascade.steps:
        yield step
        if step.inner is not None:
            yield from all_steps(step.inner)
