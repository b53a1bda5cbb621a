"""What an export gives: a text, and how its answers can differ from the table's."""

from __future__ import annotations

from msgspec import Struct

from compiler.errors import Problem
from compiler.rules import ast


class Exported(Struct, frozen=True):
    """A table in another language.

    Attributes:
        text: the whole text, ready to be written to a file.
        differences: where it does not mean what the table means, in order, with places.
    """

    text: str
    differences: tuple[Problem, ...] = ()


def route_of(leaf: ast.LeafConsequent) -> str:
    """The name that ``rules eval`` gives as route; a split's is not known before its unit is."""
    match leaf:
        case ast.ModelConsequent(model=name) | ast.DecisionConsequent(decision=name):
            return name
        case ast.ShadowConsequent(primary=first) | ast.ChallengeConsequent(champion=first):
            return first.model
        case ast.RejectConsequent():
            return "reject"
        case ast.SplitConsequent():
            return "split"


def comment(text: str, mark: str) -> str:
    """Text as comment lines, whatever characters it holds."""
    lines = "".join(c if c.isprintable() or c == "\n" else " " for c in text).split("\n")
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in lines)
