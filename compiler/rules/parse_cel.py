"""Conditions in the CEL subset."""

from __future__ import annotations

from compiler.errors import Problem, ProblemsError
from compiler.rules import ast


def parse_cel(source: str, at: str = "1:1") -> ast.Condition:
    """Condition of a CEL expression.

    Raises:
        ProblemsError: outside the subset.
    """
    raise ProblemsError([Problem("rule.cel", f"expected the text form, got CEL {source[:40]!r}", at)])
