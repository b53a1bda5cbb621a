"""All findings of a table, worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.rules.check import field_names
from compiler.rules.finding import Finding

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules

_ORDER = {"error": 0, "warning": 1, "note": 2}


def analyse(rules: CompiledRules) -> list[Finding]:
    """Findings sorted by level, then by place in the table."""
    found = protected(rules)
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
