"""The evidence completeness score: a pure function of policy, answers and time.

Anyone can recompute it for any past date. It says how complete the evidence is; it does not say
that a model complies with a regulation, and must never be printed as if it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from control_plane.compliance.schemas import (
    Answer,
    Item,
    OpenFinding,
    Policy,
    Profile,
    Score,
    Section,
    SectionScore,
    Status,
)

STATED, REVIEWED, BOUND = 0.5, 0.8, 1.0
CAPS = {"critical": 49.0, "high": 74.0}


def strength(answer: Answer | None) -> float:
    """What an answer is worth: nothing, stated, reviewed by somebody else, or bound to a digest."""
    if answer is None or (answer.not_applicable and not answer.reviewer):
        return 0.0
    if answer.carried:
        return STATED
    if answer.evidence:
        return BOUND
    return REVIEWED if answer.reviewer else STATED


def freshness(answer: Answer, at: datetime) -> float:
    """1 until the answer's date, then down to 0 over as long again as it was valid."""
    if answer.valid_until is None or at <= answer.valid_until:
        return 1.0
    span = answer.valid_until - answer.at
    if span <= timedelta(0):
        return 0.0
    return max(0.0, 1.0 - (at - answer.valid_until) / span)


def is_waived(answer: Answer | None) -> bool:
    """Whether two people agreed that the item does not apply."""
    return answer is not None and answer.not_applicable and bool(answer.reviewer)


def section_score(
    section: Section,
    answers: Mapping[str, Answer],
    findings: Sequence[OpenFinding],
    at: datetime,
) -> tuple[float, list[str], float, float]:
    """Score 0 to 100, items that count nothing, weight bound to artifacts, and whole weight."""
    got = whole = bound = 0.0
    missing: list[str] = []
    for item in section.items:
        answer = answers.get(f"{section.key}.{item.key}")
        if is_waived(answer):
            continue
        value = _worth(item, answer, at)
        got, whole = got + value, whole + item.weight
        if answer is not None and strength(answer) == BOUND:
            bound += item.weight
        if value == 0.0:
            missing.append(item.key)
    score = 100.0 * got / whole if whole else 100.0
    for finding in findings:
        if finding.section == section.key:
            score = min(score, CAPS.get(finding.severity, 100.0))
    return score, missing, bound, whole


def _worth(item: Item, answer: Answer | None, at: datetime) -> float:
    if answer is None:
        return 0.0
    return item.weight * strength(answer) * freshness(answer, at)


def _dated(
    required: Sequence[SectionScore], findings: Sequence[OpenFinding], policy: Policy
) -> bool:
    """Whether mandatory sections are far enough, each shortfall with a dated finding."""
    lines = policy.thresholds
    dated = {finding.section for finding in findings}
    return all(
        s.score >= lines.conditional_section and (s.score >= lines.pass_section or s.key in dated)
        for s in required
    )


def score(
    policy: Policy,
    profile: Profile,
    answers: Mapping[str, Answer],
    findings: Sequence[OpenFinding],
    *,
    tier: str,
    at: datetime,
) -> Score:
    """How complete the evidence about one version is.

    Args:
        policy: sections and lines.
        profile: makes more sections mandatory.
        answers: the newest answer by item, as of ``at``.
        findings: open at ``at``.
        tier: of the model; a high one cannot pass with conditions.
        at: when.
    """
    lines = policy.thresholds
    shown: list[SectionScore] = []
    total = weights = bound = whole = 0.0
    for section in policy.sections:
        mandatory = section.mandatory or section.key in profile.promotes
        value, missing, part, weight = section_score(section, answers, findings, at)
        shown.append(SectionScore(section.key, section.title, mandatory, round(value, 2), missing))
        factor = 2.0 if mandatory else 1.0
        total, weights = total + factor * value, weights + factor
        bound, whole = bound + part, whole + weight
    overall = total / weights
    required = [s for s in shown if s.mandatory]
    passed = sum(s.score >= lines.pass_section for s in required)
    critical = any(f.severity == "critical" for f in findings)
    status: Status = "fail"
    if passed == len(required) and overall >= lines.pass_overall and not critical:
        status = "pass"
    elif tier != "high" and not critical and _dated(required, findings, policy):
        status = "conditional"
    dates = [a.at for a in answers.values() if strength(a) > 0]
    return Score(
        policy.policy,
        profile.profile,
        at,
        round(overall, 2),
        status,
        len(required),
        passed,
        round(bound / whole, 4) if whole else 0.0,
        min(dates) if dates else None,
        shown,
    )
