"""The score on answers whose result can be worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from control_plane.compliance import policy
from control_plane.compliance.schemas import (
    Answer,
    Item,
    OpenFinding,
    Policy,
    Profile,
    Section,
    Thresholds,
)
from control_plane.compliance.score import score

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SMALL = Policy(
    "test/1",
    "owner",
    [],
    Thresholds(80, 85, 60),
    (
        Section("S1", "one", True, (Item("a", "", 2, True, None), Item("b", "", 1, False, 100))),
        Section("S2", "two", False, (Item("c", "", 1, False, None),)),
    ),
)
GENERAL = Profile("general", "", date(2026, 1, 1), [], [], "")


def answer(item, **changes):
    values = {"value": "x", "source": "human", "author": "dan", "at": NOW - timedelta(days=10)}
    return Answer(item=item, **(values | changes))


def of(*answers, findings=(), profile=GENERAL, tier="standard", at=NOW):
    return score(SMALL, profile, {a.item: a for a in answers}, findings, tier=tier, at=at)


def finding(section="S1", severity="high"):
    return OpenFinding(UUID(int=1), section, severity, "t", "o", date(2027, 1, 1), "cora", NOW)


def section(found, key):
    return next(s for s in found.sections if s.key == key)


def test_nothing_said_scores_zero_and_names_what_is_open():
    found = of()
    assert (found.overall, found.status, found.mandatory_passed) == (0.0, "fail", 0)
    assert section(found, "S1").open == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "worth"),
    [
        ({}, 50.0),
        ({"reviewer": "cora"}, 80.0),
        ({"evidence": "sha256:1"}, 100.0),
        ({"carried": True, "reviewer": "cora"}, 50.0),
        ({"not_applicable": True}, 0.0),
    ],
)
def test_answers_are_worth_what_stands_behind_them(changes, worth):
    found = of(answer("S2.c", **changes))
    assert section(found, "S2").score == worth


def test_section_is_the_weighted_mean_and_mandatory_ones_count_twice():
    found = of(answer("S1.a", evidence="d"), answer("S1.b", reviewer="cora"), answer("S2.c"))
    assert section(found, "S1").score == pytest.approx(100 * (2 * 1 + 0.8) / 3, abs=0.01)
    assert found.overall == pytest.approx((2 * 93.33 + 50) / 3, abs=0.01)
    assert found.coverage == pytest.approx(2 / 4)


def test_waived_item_leaves_the_section():
    found = of(answer("S1.a", evidence="d"),
               answer("S1.b", not_applicable=True, reviewer="cora"))  # fmt: skip
    assert section(found, "S1").score == 100.0


def test_answer_fades_over_as_long_again_as_it_was_valid():
    at = NOW - timedelta(days=150)
    old = answer("S2.c", evidence="d", at=at, valid_until=at + timedelta(days=100))
    assert section(of(old), "S2").score == pytest.approx(50.0)
    assert section(of(old, at=at + timedelta(days=100)), "S2").score == 100.0
    assert section(of(old, at=at + timedelta(days=300)), "S2").score == 0.0


def test_open_findings_cap_and_critical_ones_fail_everything():
    full = (answer("S1.a", evidence="d"), answer("S1.b", evidence="d"),
            answer("S2.c", evidence="d"))  # fmt: skip
    assert of(*full).status == "pass"
    assert section(of(*full, findings=[finding()]), "S1").score == 74.0
    capped = of(*full, findings=[finding(severity="critical")])
    assert (section(capped, "S1").score, capped.status) == (49.0, "fail")


def test_conditions_need_a_dated_finding_and_no_high_tier():
    most = (answer("S1.a", reviewer="cora"), answer("S1.b"), answer("S2.c", evidence="d"))
    assert 60 <= section(of(*most), "S1").score < 80
    assert of(*most).status == "fail"
    assert of(*most, findings=[finding(severity="medium")]).status == "conditional"
    assert of(*most, findings=[finding(severity="medium")], tier="high").status == "fail"


def test_profile_makes_more_sections_mandatory():
    promoted = msgspec.structs.replace(GENERAL, promotes=["S2"])
    full = (answer("S1.a", evidence="d"), answer("S1.b", evidence="d"))
    assert of(*full).mandatory == 1
    found = of(*full, profile=promoted)
    assert (found.mandatory, found.mandatory_passed, found.status) == (2, 1, "fail")


def test_bundled_policy_has_twelve_sections_six_of_them_mandatory_and_consent():
    found = policy.policy()
    assert [s.key for s in found.sections] == [f"S{n}" for n in range(1, 13)]
    assert [s.key for s in found.sections if s.mandatory] == [f"S{n}" for n in range(1, 7)]
    assert "S3.consent" in policy.items()
    assert {"S7", "S8"} <= set(policy.profile("credit_us").promotes)
    keys = {s.key for s in found.sections}
    for profile in policy.profiles().values():
        assert set(profile.promotes) <= keys
        assert all(set(reference.about) <= keys for reference in profile.references)


def test_golden_score_of_the_bundled_policy():
    answers = [
        answer(item, evidence="d" if n % 3 == 0 else "", reviewer="cora" if n % 3 == 1 else "")
        for n, item in enumerate(policy.items())
    ]
    found = score(policy.policy(), policy.profile("credit_us"), {a.item: a for a in answers}, [],
                  tier="standard", at=NOW)  # fmt: skip
    assert [s.score for s in found.sections] == [
        78.18, 74.44, 74.55, 75.71, 79.0, 77.14, 76.67, 72.86, 82.5, 90.0, 66.67, 76.67,
    ]  # fmt: skip
    assert (found.overall, found.status, found.coverage) == (76.65, "fail", 0.3537)
    again = score(policy.policy(), policy.profile("credit_us"),
                  dict(reversed([(a.item, a) for a in answers])), [],
                  tier="standard", at=NOW)  # fmt: skip
    assert again == found
