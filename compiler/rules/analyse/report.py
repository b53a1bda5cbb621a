"""All findings of a table, worst first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from compiler.rules.analyse.missing import missing_holes
from compiler.rules.analyse.near import near_gaps
from compiler.rules.analyse.overlaps import overlaps
from compiler.rules.analyse.reach import Reach, unreached
from compiler.rules.analyse.redundant import redundant
from compiler.rules.analyse.space import Space, exact
from compiler.rules.analyse.witness import confirmed
from compiler.rules.check import field_names
from compiler.rules.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.compiled import CompiledRules

_SETTLED = ("contradiction", "unreachable", "tautology")
"""Kinds that leave nothing to say about the tests of a rule."""
_ORDER = {"error": 0, "warning": 1, "note": 2}
MOST = 3
"""Findings of one kind and level that are listed before the others, two at least, are counted.
Errors are all listed."""


def analyse(
    rules: CompiledRules,
    tell: Callable[[str], None] = lambda _: None,
    now_us: int | None = None,
) -> list[Finding]:
    """Findings sorted by level, then by kind and place in the table.

    Every example was put to the reference interpreter; nothing is called unreachable,
    contradictory, always true or redundant without a proof over all cells. What the budget cannot
    decide is said to be not proven.

    Args:
        rules: the table.
        tell: is told what is looked for next.
        now_us: time that examples see as now, the present without it. Nothing that is proved
            depends on it.
    """
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    found = protected(rules)
    if rules.table.rules:
        tell("cases that the table tells apart")
        space = Space(rules, now_us)
        found += [*_untried(space), *_gap(rules, space)]
        tell(f"what decides in {space.rows:,} cases")
        reach = Reach(rules, space)
        tell("rules that are never reached")
        found += unreached(rules, reach)
        settled = {path for each in found if each.code in _SETTLED for path in each.rules}
        tell("values between thresholds")
        found += near_gaps(rules, space)
        tell("missing values")
        found += missing_holes(rules, space)
        tell("rules that overlap")
        found += overlaps(rules, space)
        tell("tests that may be left out")
        found += redundant(rules, reach, settled)
    return in_order([confirmed(rules, finding, now_us) for finding in few(found)])


def in_order(found: list[Finding]) -> list[Finding]:
    """Worst first."""
    return sorted(found, key=lambda finding: _ORDER[finding.level])


def few(found: list[Finding]) -> list[Finding]:
    """Worst first; below error :data:`MOST` of a kind at most and a count of the others."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in in_order(found):
        kinds.setdefault((finding.level, finding.code), []).append(finding)
    kept: list[Finding] = []
    for (level, code), group in kinds.items():
        all_of_them = level == "error" or len(group) <= MOST + 1  # a count takes a line as well
        listed = group if all_of_them else group[:MOST]
        kept += listed
        rest = group[len(listed) :]
        if rest:
            rules = tuple(dict.fromkeys(path for finding in rest for path in finding.rules))
            proven = all(finding.proven for finding in rest)
            message = f"{len(rest)} more of this kind are not listed, in rules {_names(rules)}"
            message += "" if proven else "; not all are proven"
            kept.append(Finding(rest[0].level, code, message, rules, proven=proven))
    return kept


def _names(rules: tuple[str, ...]) -> str:
    shown = ", ".join(rules[:MOST])
    return shown if len(rules) <= MOST else f"{shown} and {len(rules) - MOST} others"


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


def _untried(space: Space) -> list[Finding]:
    """That a sample stands for a table too large to try."""
    if space.complete:
        return []
    message = (
        f"the table tells more requests apart than can be tried; {space.rows:,} were: gaps, "
        "near-gaps, missing-holes and overlaps beyond those listed are not ruled out"
    )
    return [Finding("note", "budget", message, proven=False)]


def _gap(rules: CompiledRules, space: Space) -> list[Finding]:
    """What only the default answers."""
    default = rules.flat.cascade.default
    row = int(space.first[default])
    if row >= 0:
        share = float((space.decided == default).mean())
        message = f"only the default answers {share:.0%} of the cases that the table tells apart"
        return [Finding("note", "gap", message, ("default",), "", space.example(row))]
    if space.complete and all(exact(step.rule.condition) for step in rules.steps()):
        message = "the rules cover every request: the default is never used"
        return [Finding("note", "covered", message, ("default",))]
    return []
