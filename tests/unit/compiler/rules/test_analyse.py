"""Defects a reviewer must see, each with a row that shows it."""

import pytest

from compiler.rules.analyse import space
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature

FEATURES = {
    "amount": Feature(type="float", min=0),
    "score": Feature(type="int", min=300, max=850),
    "ratio": Feature(type="float", nullable=True),
    "channel": Feature(type="enum", values=("web", "branch")),
    "age": Feature(type="int", protected=True),
}


def findings(text, code=None):
    found = compile_rules(text, features=FEATURES).analyse()
    return [each for each in found if code in (None, each.code)]


def test_rule_behind_a_wider_one_is_unreachable_with_a_row_that_the_wider_one_takes():
    text = "IF amount > 5 THEN a ELSE IF amount > 10 AND score > 700 THEN b ELSE c"
    (found,) = findings(text, "unreachable")
    assert found.level == "error"
    assert found.rules == ("rule2",)
    row = found.example
    assert row["amount"] > 10
    assert compile_rules(text, features=FEATURES).reference(row)[0] == 0


def test_rule_covered_by_two_earlier_ones_together_is_unreachable():
    text = (
        "IF amount > 5 THEN a ELSE IF score > 700 THEN b "
        "ELSE IF (amount > 6 AND score < 400) OR (amount < 5 AND score > 701) THEN c ELSE d"
    )
    assert [each.rules for each in findings(text, "unreachable")] == [("rule3",)]


@pytest.mark.parametrize(
    "condition",
    [
        "amount > 5 AND amount < 4",
        "score = 300 AND score > 300",
        "channel IN ('web') AND channel = 'branch'",
        "ratio IS NULL AND ratio > 1",
        "amount < 0",
        "score > 850",
    ],
)
def test_condition_that_is_never_true_is_a_contradiction(condition):
    assert findings(f"IF {condition} THEN a ELSE b", "contradiction")


@pytest.mark.parametrize(
    "condition",
    [
        "amount >= 0",
        "score BETWEEN 300 AND 850",
        "channel IN ('web', 'branch')",
        "ratio IS NULL OR ratio >= 1 OR ratio < 1",
    ],
)
def test_condition_that_is_always_true_is_a_tautology(condition):
    (found,) = findings(f"IF {condition} THEN a ELSE b", "tautology")
    assert found.level == "warning"


def test_threshold_between_neighbouring_ints_leaves_no_gap_that_is_not_there():
    assert not findings("IF score <= 700 THEN a ELSE IF score >= 701 THEN b ELSE c", "gap")
    (found,) = findings("IF score < 700 THEN a ELSE IF score > 700 THEN b ELSE c", "gap")
    assert found.example == {"score": 700}


def test_missing_value_is_a_gap_of_its_own():
    (found,) = findings("IF ratio < 1 THEN a ELSE IF ratio >= 1 THEN b ELSE c", "gap")
    assert found.example == {}


def test_overlap_is_a_warning_where_the_rules_disagree_and_one_note_where_they_agree():
    (found,) = findings("IF amount > 5 THEN a ELSE IF score > 700 THEN a ELSE b", "overlap")
    assert found.level == "note"
    agree = "IF amount > 5 THEN a ELSE IF score > 700 THEN a ELSE IF ratio > 1 THEN a ELSE b"
    (found,) = findings(agree, "overlap")
    assert "2 more pairs" in found.message
    (found,) = findings("IF amount > 5 THEN a ELSE IF score > 700 THEN b ELSE c", "overlap")
    assert found.level == "warning"
    assert found.example["amount"] > 5
    assert found.example["score"] > 700


def test_protected_feature_in_a_rule_is_an_error():
    (found,) = findings("IF age > 40 THEN a ELSE b", "protected_in_rule")
    assert found.level == "error"


def test_arithmetic_is_never_taken_for_a_proof():
    text = "IF amount + score > 0 THEN a ELSE IF amount * 2 > 5000 THEN b ELSE c"
    assert not [each for each in findings(text) if each.level == "error"]


def test_table_beyond_the_budget_is_said_to_be_not_proven(monkeypatch):
    monkeypatch.setattr(space, "BUDGET_ROWS", 4)
    monkeypatch.setattr(space, "BUDGET_TESTS", 4)
    text = " ELSE ".join(f"IF amount > {n * 3} AND score = {300 + n} THEN m{n}" for n in range(500))
    found = findings(text + " ELSE z", "unreachable")
    assert found
    assert not any(each.proven for each in found)
    assert {each.level for each in found} == {"note"}
