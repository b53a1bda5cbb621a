"""Defects a reviewer must see, each with a row that shows it."""

import datetime as dt

import numpy as np
import pytest

from compiler.rules.analyse import report, space, witness
from compiler.rules.finding import Finding
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


def test_special_case_before_the_general_one_is_a_note_and_no_warning():
    ladder = "IF amount < 3 THEN a ELSE IF amount < 5 THEN b ELSE IF amount < 9 THEN c ELSE d"
    (found,) = findings(ladder, "overlap")
    assert (found.level, found.rules) == ("note", ("rule1", "rule2"))
    assert "special case" in found.message
    assert "2 more pairs" in found.message
    (found,) = findings("IF amount < 3 THEN a ELSE IF amount > 1 THEN b ELSE c", "overlap")
    assert found.level == "warning"


@pytest.mark.usefixtures("_small")
def test_special_case_that_is_not_proved_stays_a_warning():
    found = findings("IF amount < 3 THEN a ELSE IF amount < 5 THEN b ELSE c", "overlap")
    assert [each.level for each in found] == ["warning"]


def test_protected_feature_in_a_rule_is_an_error():
    (found,) = findings("IF age > 40 THEN a ELSE b", "protected_in_rule")
    assert found.level == "error"


def test_arithmetic_is_never_taken_for_a_proof():
    text = "IF amount + score > 0 THEN a ELSE IF amount * 2 > 5000 THEN b ELSE c"
    assert not [each for each in findings(text) if each.level == "error"]


@pytest.fixture
def _small(monkeypatch):
    """A budget that no table of this page fits into."""
    for name in ("BUDGET_ROWS", "BUDGET_TESTS", "LEAST_ROWS"):
        monkeypatch.setattr(space, name, 4)


@pytest.mark.usefixtures("_small")
def test_table_beyond_the_budget_doubts_no_rule_that_a_row_made_for_it_reaches():
    text = " ELSE ".join(f"IF amount > {n * 3} AND score = {300 + n} THEN m{n}" for n in range(500))
    found = findings(text + " ELSE z")
    assert not [each for each in found if each.code == "unreachable"]
    (budget,) = [each for each in found if each.code == "budget"]
    assert not budget.proven
    assert "4 were" in budget.message


@pytest.mark.usefixtures("_small")
def test_rule_behind_a_wider_one_is_proved_unreachable_beyond_the_budget_too():
    text = (
        "IF amount > 9 AND ratio > 5 THEN a ELSE IF amount > 5 THEN b "
        "ELSE IF amount > 10 AND score > 700 THEN c ELSE d"
    )
    (found,) = findings(text, "unreachable")
    assert (found.level, found.rules, found.proven) == ("error", ("rule3",), True)


@pytest.mark.usefixtures("_small")
def test_rule_hidden_by_rules_of_other_features_is_said_to_be_not_proven_beyond_the_budget():
    text = (
        "IF amount > 5 AND ratio > 1 THEN a "
        "ELSE IF amount > 5 AND (ratio <= 1 OR ratio IS NULL) THEN b "
        "ELSE IF amount > 6 THEN c ELSE d"
    )
    (found,) = findings(text, "unreachable")
    assert (found.level, found.rules, found.proven) == ("note", ("rule3",), False)
    assert "not proven" in found.message


def test_rule_hidden_by_rules_of_other_features_is_proved_within_the_budget():
    text = (
        "IF amount > 5 AND ratio > 1 THEN a "
        "ELSE IF amount > 5 AND (ratio <= 1 OR ratio IS NULL) THEN b "
        "ELSE IF amount > 6 THEN c ELSE d"
    )
    (found,) = findings(text, "unreachable")
    assert found.level == "error"


def test_nested_rules_of_a_rule_that_is_never_true_are_not_told_apart():
    text = "IF amount < 0 THEN (IF score > 400 THEN a ELSE b) ELSE c"
    assert [(each.code, each.rules) for each in findings(text) if each.level == "error"] == [
        ("contradiction", ("rule1",))
    ]


def test_a_contradiction_is_proved_whatever_a_test_that_cells_do_not_show_says():
    assert findings("IF amount > 5 AND amount + score > 7 AND amount < 4 THEN a ELSE b",
                    "contradiction")  # fmt: skip


def test_more_overlaps_than_anybody_reads_are_counted():
    text = " ELSE ".join(f"IF amount BETWEEN {n} AND {n + 20} THEN m{n}" for n in range(12))
    found = findings(text + " ELSE z", "overlap")
    assert len(found) == report.MOST + 1
    assert found[-1].message.startswith("63 more of this kind")
    assert found[-1].example is None


def test_overlaps_of_a_long_table_are_said_to_be_not_proven():
    text = " ELSE ".join(f"IF amount = {n} THEN m{n}" for n in range(65))
    (found,) = findings(text + " ELSE z", "overlap")
    assert not found.proven
    assert "at most 64 rules, this one has 65" in found.message
    assert "not proven" in found.message


def test_an_example_that_the_reference_refutes_is_an_error_of_its_own():
    rules = compile_rules("IF amount > 5 THEN a ELSE b", features=FEATURES)
    wrong = Finding("note", "gap", "said without looking", ("default",), "", {"amount": 6.0})
    found = witness.confirmed(rules, wrong, 0)
    assert (found.level, found.code) == ("error", "engines.disagree")
    assert found.example == {"amount": 6.0}
    right = Finding("note", "gap", "looked at", ("default",), "", {"amount": 5.0})
    assert witness.confirmed(rules, right, 0) is right


def test_examples_of_tests_against_the_clock_are_of_the_time_of_the_analysis():
    features = {"opened": Feature("timestamp"), "amount": Feature("float")}
    text = "IF opened IN LAST '30d' THEN new ELSE IF amount > 5 THEN large ELSE b"
    rules = compile_rules(text, features=features)
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    told = rules.analyse(now_us=int(now.timestamp()) * 1_000_000)
    (found,) = [each for each in told if each.code == "overlap"]
    assert now - dt.timedelta(days=30) <= found.example["opened"] <= now
    assert found.example["amount"] > 5


@pytest.mark.parametrize("word", ["OR", "AND"])
def test_a_condition_of_thousands_of_tests_is_analysed_and_runs_over_columns(word):
    text = f"IF {f' {word} '.join(f'amount != {n}' for n in range(4_000))} THEN a ELSE b"
    rules = compile_rules(text, features=FEATURES)
    assert rules.analyse()
    amounts = np.array([1.5, 7.0])
    expected = [rules.reference({"amount": value})[0] for value in amounts.tolist()]
    assert rules.numpy({"amount": amounts}, 2).tolist() == expected
