"""Front door of the CEL subset: a text in, a condition of the rule language or problems out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.errors import Problem, ProblemsError
from compiler.rules import ast
from compiler.rules.cel.parse import parse
from compiler.rules.cel.translate import Translator

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.cel.budget import Budget
    from compiler.schema import FeatureMap


def cel_condition(
    source: str,
    features: FeatureMap,
    at: str,
    report: Callable[[Problem], None],
    *,
    depth: int = 1,
    budget: Budget | None = None,
) -> ast.Condition | None:
    """Condition of a CEL text; None when there are problems, which are reported.

    Args:
        source: the text.
        features: what names may mean, outputs of a decision table included.
        at: place of the text in its document.
        depth: levels of conditions around the text, its own included.
        budget: what the texts of the table may still take; changed.
        report: takes each problem; its place is ``<at>@line:column``.
    """
    try:
        tree = parse(source)
    except ProblemsError as error:
        for problem in error.problems:
            report(Problem(problem.code, problem.message, f"{at}@{problem.at}", problem.hint))
        return None
    walker = Translator(features, at, budget)
    found = walker.whole(tree, depth)
    for problem in walker.problems:
        report(problem)
    return None if walker.problems else found
