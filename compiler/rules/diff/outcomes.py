"""Outcomes of two tables: what is compared, and how it is said.

Two tables mean the same when every request has the same outcome. Ids, descriptions and the order of
rules that lead to one outcome are no part of it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from compiler.rules import ast
from compiler.rules.places import without_places
from compiler.rules.splits import share_moved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from compiler.rules.compiled import CompiledRules

Outcome = tuple[str, Any]
"""Kind and content; equal outcomes are equal values."""


def outcome_of(rules: CompiledRules, leaf: int) -> Outcome:
    """Outcome of a leaf; a negative one is a rule that stops the table when it is UNKNOWN."""
    if leaf < 0:
        return ("error", rules.ids[-1 - leaf])
    return ("consequent", without_places(rules.consequents[leaf]))


def rule_of(rules: CompiledRules, leaf: int) -> str:
    """Id of the rule of a leaf."""
    return rules.ids[-1 - leaf] if leaf < 0 else rules.ids[leaf]


def by_leaves(
    before: NDArray[np.int16], after: NDArray[np.int16]
) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Rows by the two leaves that decide them: old leaf, new leaf, their rows in order."""
    keys = before.astype(np.int64) * (1 << 32) + after
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[:1]] - 1))
    ends = [*starts[1:].tolist(), len(keys)]
    for start, end in zip(starts.tolist(), ends[: len(starts)], strict=True):
        rows = order[start:end]
        yield int(before[rows[0]]), int(after[rows[0]]), rows


def words_of(outcome: Outcome) -> str:
    """An outcome for people.

    >>> words_of(("consequent", ast.ModelConsequent("quick", 3)))
    'quick 3'
    """
    kind, content = outcome
    if kind == "error":
        return f"error at {content}"
    match content:
        case ast.ModelConsequent(model=model, version=version):
            return model if version is None else f"{model} {version}"
        case ast.RejectConsequent(reason=reason):
            return f"reject ({reason})" if reason else "reject"
        case ast.DecisionConsequent(decision=decision):
            return str(decision)
        case ast.SplitConsequent(arms=arms, salt=salt, unit=unit):
            shares = ", ".join(f"{arm.weight} {_arm(arm)}" for arm in arms)
            by = "" if unit == "split_id" else f" by {unit}"
            return f"split{by} ({shares}; salt {salt})"
        case ast.ShadowConsequent(primary=primary, mirrors=mirrors):
            return f"{primary.model} (shadow {', '.join(each.model for each in mirrors)})"
        case ast.ChallengeConsequent(champion=champion, challengers=others):
            return f"{champion.model} (challenged by {', '.join(each.model for each in others)})"
    return msgspec.json.encode(content).decode()


def _arm(arm: ast.Arm) -> str:
    model = arm.model if arm.version is None else f"{arm.model} {arm.version}"
    return model if arm.name == arm.model else f"{arm.name}: {model}"


def moved(before: Outcome, after: Outcome) -> Fraction | None:
    """Share of the units that an edited split gives to another arm; None for anything else."""
    old, new = before[1], after[1]
    if isinstance(old, ast.SplitConsequent) and isinstance(new, ast.SplitConsequent):
        return share_moved(old, new)
    return None
