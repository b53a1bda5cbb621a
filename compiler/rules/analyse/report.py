"""All findings of a table, worst first."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from msgspec.structs import replace

from compiler.rules.analyse.space import Space, exact
from compiler.rules.check import field_names
from compiler.rules.finding import Finding

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Step

_ORDER = {"error": 0, "warning": 1, "note": 2}
OVERLAP_RULES = 64
"""Tables with more rules are not searched for overlaps: their number of pairs outgrows its use."""


def analyse(rules: CompiledRules) -> list[Finding]:
    """Findings sorted by level, then by place in the table.

    Every example was evaluated; nothing is called unreachable, contradictory or always true
    without a proof over all cells. What the budget cannot decide is said to be not proven.
    """
    found = protected(rules)
    if rules.table.rules:
        space = Space(rules)
        found += [*_unreached(rules, space), *_gap(rules, space), *_overlaps(rules, space)]
    return sorted(found, key=lambda finding: _ORDER[finding.level])


def protected(rules: CompiledRules) -> list[Finding]:
    """Rules that read a protected attribute."""
    found = []
    for step in rules.steps():
        for name in field_names(step.rule.condition):
            if rules.scope[name].protected:
                message = (
                    f"expected no protected attribute in a rule, got `{name}` in rule {step.path}"
                )
                found.append(
                    Finding("error", "protected_in_rule", message, (step.path,), step.rule.at)
                )
    return found


def _unreached(rules: CompiledRules, space: Space) -> list[Finding]:
    """Leaves that nothing reaches, with the reason where one rule alone is it."""
    found = []
    earlier_exact = True
    for step in rules.steps():
        alone_exact = exact(step.rule.condition)
        fires = space.fires(rules, step.rule)
        if space.complete and alone_exact and not fires.any():
            message = f"expected a condition that can be true, got one that never is in {step.path}"
            found.append(Finding("error", "contradiction", message, (step.path,), step.rule.at))
        elif step.inner is None and space.first[step.index] < 0:
            proven = space.complete and earlier_exact and alone_exact
            found.append(_unreachable(step, space, fires, proven=proven))
        elif space.complete and alone_exact and fires.all():
            message = f"rule {step.path} is true for every request: nothing after it is read"
            found.append(
                Finding(
                    "warning", "tautology", message, (step.path,), step.rule.at, space.example(0)
                )
            )
        earlier_exact = earlier_exact and alone_exact
    return found


def _unreachable(step: Step, space: Space, fires: object, *, proven: bool) -> Finding:
    import numpy as np

    where = np.flatnonzero(np.asarray(fires))
    example = space.example(int(where[0])) if len(where) else None
    if not proven:
        message = (
            f"found no request that rule {step.path} decides; that there is none is not proven"
        )
        return Finding(
            "note", "unreachable", message, (step.path,), step.rule.at, None, proven=False
        )
    message = f"rule {step.path} can never decide: whenever it is true an earlier rule has decided"
    return Finding("error", "unreachable", message, (step.path,), step.rule.at, example)


def _gap(rules: CompiledRules, space: Space) -> list[Finding]:
    """What only the default answers."""
    default = rules.flat.cascade.default
    row = int(space.first[default])
    if row >= 0:
        share = float((space.decided == default).mean())
        message = f"only the default answers {share:.0%} of the table's cells"
        return [Finding("note", "gap", message, ("default",), "", space.example(row))]
    if space.complete and all(exact(step.rule.condition) for step in rules.steps()):
        message = "the rules cover every request: the default is never used"
        return [Finding("note", "covered", message, ("default",))]
    return []


def _overlaps(rules: CompiledRules, space: Space) -> list[Finding]:
    """Rules of the outermost cascade that can be true together and disagree; order decides."""
    steps = rules.flat.cascade.steps
    if len(steps) > OVERLAP_RULES:
        message = f"overlaps of more than {OVERLAP_RULES} rules are not searched"
        return [Finding("note", "overlap", message, proven=False)]
    masks = [space.fires(rules, step.rule) for step in steps]
    found = []
    for (one, left), (two, right) in combinations(zip(steps, masks, strict=True), 2):
        both = left & right
        if space.first[two.index] < 0 or _outcome(one) == _outcome(two) or not both.any():
            continue
        message = f"{one.path} and {two.path} can both be true and disagree; {one.path} decides"
        found.append(
            Finding(
                "warning",
                "overlap",
                message,
                (one.path, two.path),
                two.rule.at,
                space.example(int(both.argmax())),
            )
        )
    return found


def _outcome(step: Step) -> object:
    """What a rule does, wherever it stands in the source."""
    return replace(step.rule.consequent, at="")
