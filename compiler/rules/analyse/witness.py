"""Every example is put to the reference interpreter before it is shown to anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.rules.finding import Finding
from compiler.rules.reference import Reader, truth

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules


def confirmed(rules: CompiledRules, found: Finding, now_us: int) -> Finding:
    """The finding, or the more serious one that two evaluators disagree on its example."""
    if found.example is None or shows(rules, found, now_us):
        return found
    message = (
        f"expected the reference interpreter to confirm the example of {found.code!r}, got another "
        "decision: the engines of this table disagree; do not publish it, report the row"
    )
    return Finding("error", "engines.disagree", message, found.rules, found.at, found.example)


def shows(rules: CompiledRules, found: Finding, now_us: int) -> bool:
    """Whether the example shows what the finding says, by the reference interpreter alone."""
    row = found.example or {}
    index, unknown = rules.reference(row, now_us)
    steps = {step.path: step for step in rules.steps()}
    concerned = [steps[path] for path in found.rules if path in steps]
    reader = Reader(rules.scope, row, now_us)
    true = [truth(step.rule.condition, reader) is True for step in concerned]
    decides = [index in step.leaves() for step in concerned]
    match found.code:
        case "gap":
            return index == rules.flat.cascade.default
        case "near-gap":
            return index in rules.flat.defaults()
        case "overlap":
            return all(true) and decides == [True, False]
        case "unreachable":
            return all(true) and not any(decides)
        case "tautology" | "redundant":
            return all(true)
        case "missing-hole":
            return found.rules[0] in unknown and not any(decides)
    return True
