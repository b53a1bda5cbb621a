"""Redundant tests, near-gaps and missing-holes: what is told, and what is not."""

import pytest

from compiler.rules.analyse import redundant
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature, OutputSchema

FEATURES = {
    "amount": Feature(type="float", min=0),
    "rate": Feature(type="float32"),
    "price": Feature(type="decimal", scale=2),
    "score": Feature(type="int", min=300, max=850),
    "day": Feature(type="date"),
    "seen": Feature(type="timestamp"),
    "ratio": Feature(type="float", nullable=True),
    "known": Feature(type="float", nullable=True, default=1.0),
    "channel": Feature(type="enum", values=("web", "branch", "phone", "agent")),
    "pair": Feature(type="enum", values=("one", "two")),
    "name": Feature(type="string"),
}


def findings(text, code):
    found = compile_rules(text, features=FEATURES).analyse()
    return [each for each in found if each.code == code]


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        ("amount > 5 AND amount > 3", "amount > 3.0"),
        ("amount > 3 AND amount > 5", "amount > 3.0"),
        ("amount > 5 AND amount > 5", "amount > 5.0"),
        ("amount > 5 OR amount > 7", "amount > 7.0"),
        ("score >= 300 AND amount > 5", "score >= 300"),
        ("amount > 5 AND (amount > 4 OR score > 500)", "amount > 4.0 OR score > 500"),
        ("ratio IS NOT NULL AND ratio > 1", "ratio IS NOT NULL"),
        ("amount > 5 AND NOT (amount <= 2)", "NOT (amount <= 2.0)"),
        ("channel IN ('web', 'phone') AND channel != 'agent'", "channel != 'agent'"),
        ("amount > 5 AND name CONTAINS 'x' AND amount > 3", "amount > 3.0"),
        ("amount > 5 XOR (score > 400 AND score > 390)", "score > 390"),
    ],
)
def test_a_test_that_changes_nothing_is_told_with_its_place(condition, part):
    text = f"IF {condition} THEN a ELSE b"
    (found,) = findings(text, "redundant")
    assert found.level == "note"
    assert f"`{part}`" in found.message
    _, column = found.at.split(":")
    word = part.split()[0].lstrip("(")
    assert text[int(column) - 1 :].lstrip("(").startswith(word)


@pytest.mark.parametrize(
    "condition",
    [
        "amount > 5 AND score > 400",
        "amount > 5 OR score > 400",
        "ratio IS NULL OR ratio > 1",
        "amount > 5 AND name CONTAINS 'x'",
        "amount > 5 AND amount + score > 3",
        "amount > 5 XOR amount > 3",
    ],
)
def test_a_test_that_decides_something_is_not_told(condition):
    assert not findings(f"IF {condition} THEN a ELSE b", "redundant")


def test_a_test_that_earlier_rules_make_needless_is_told():
    text = "IF score > 700 THEN a ELSE IF score <= 700 AND amount > 5 THEN b ELSE c"
    (found,) = findings(text, "redundant")
    assert found.rules == ("rule2",)
    assert found.at == "1:31"


def test_a_guard_against_missing_is_needed_where_unknown_stops_the_table():
    text = "ON UNKNOWN ERROR IF ratio IS NOT NULL AND ratio > 1 THEN a ELSE b"
    assert not findings(text, "redundant")


def test_rules_that_are_too_long_to_search_are_said_to_be_not_proven(monkeypatch):
    monkeypatch.setattr(redundant, "BUDGET", 4_500)
    text = (
        "IF amount > 5 AND amount > 3 AND score > 400 THEN a "
        "ELSE IF score > 500 AND score > 350 THEN b ELSE c"
    )
    known, doubt = findings(text, "redundant")
    assert known.rules == ("rule2",)
    assert doubt.rules == ("rule1",)
    assert not doubt.proven
    assert "not proven" in doubt.message


@pytest.mark.parametrize(
    ("below", "above", "words"),
    [
        ("score < 600", "score > 600", "score = 600"),
        ("score <= 599", "score >= 601", "score = 600"),
        ("amount < 50000", "amount > 50000", "amount = 50000.0"),
        ("amount <= 49999.99", "amount >= 50000", "49999.99 < amount < 50000.0"),
        ("amount <= 24", "amount > 25", "24.0 < amount <= 25.0"),
        ("rate <= 0.44", "rate >= 0.45", "< rate <"),
        ("amount < 0.3", "amount > 0.30000000000000004", "<= amount <="),
        ("price < 10", "price > 10", "price = 10"),
        ("price <= '9.99'", "price >= '10.01'", "price = 10"),
        ("day < '2024-02-29'", "day > '2024-02-29'", "day = '2024-02-29'"),
        ("day <= '2024-02-28'", "day >= '2024-03-01'", "day = '2024-02-29'"),
        ("seen <= '2024-12-31T23:59:59Z'", "seen >= '2025-01-01T00:00:00Z'", "< seen <"),
    ],
)
def test_a_value_between_two_thresholds_is_a_near_gap(below, above, words):
    text = f"IF {below} THEN a ELSE IF {above} THEN b ELSE c"
    (found,) = findings(text, "near-gap")
    assert found.level == "warning"
    assert found.rules == ("rule1", "rule2")
    assert words in found.message
    assert found.at in {"1:4", f"1:{text.index(above) + 1}"}
    rules = compile_rules(text, features=FEATURES)
    assert rules.ids[rules.reference(found.example)[0]] == "default"


@pytest.mark.parametrize(
    "text",
    [
        "IF score < 600 THEN a ELSE IF score > 601 THEN b ELSE c",
        "IF score <= 600 THEN a ELSE IF score > 600 THEN b ELSE c",
        "IF amount < 1 THEN a ELSE IF amount > 2 THEN b ELSE c",
        "IF amount < 100 THEN a ELSE IF amount > 200 THEN b ELSE c",
        "IF score != 600 THEN a ELSE b",
        "IF score < 600 THEN a ELSE IF score > 600 THEN b ELSE IF score = 600 THEN d ELSE c",
        "IF score > 300 THEN a ELSE b",
        "IF score NOT BETWEEN 600 AND 600 THEN a ELSE b",
        "IF pair = 'one' THEN a ELSE c",
        "IF channel != 'web' THEN a ELSE c",
    ],
)
def test_a_gap_that_is_wide_or_meant_is_no_near_gap(text):
    assert not findings(text, "near-gap")


def test_a_near_gap_of_a_nested_cascade_names_it():
    text = (
        "IF amount > 5 THEN (IF score < 600 THEN a ELSE IF score > 600 THEN b ELSE c) AS big ELSE d"
    )
    (found,) = findings(text, "near-gap")
    assert "only the default of big decides where score = 600" in found.message
    assert found.rules == ("big/rule1", "big/rule2")


def test_the_last_word_of_an_enum_that_no_rule_names_is_a_note():
    text = "IF channel IN ('web', 'branch') THEN a ELSE IF channel = 'phone' THEN b ELSE c"
    (found,) = findings(text, "near-gap")
    assert found.level == "note"
    assert "channel = 'agent'" in found.message
    assert found.example == {"channel": "agent"}


def test_a_missing_value_that_no_present_one_equals_is_a_hole():
    text = "IF ratio <= 1 THEN a ELSE IF ratio > 1 THEN b ELSE c"
    (found,) = findings(text, "missing-hole")
    assert found.level == "warning"
    assert found.rules == ("rule1",)
    assert "`ratio` MISSING" in found.message
    assert "instead of a the default answers c; no value of `ratio` gives that" in found.message
    assert found.example == {}


def test_a_missing_value_that_takes_the_way_of_present_ones_is_a_note():
    (found,) = findings("IF ratio > 1 THEN a ELSE b", "missing-hole")
    assert (found.level, found.at) == ("note", "1:4")
    (found,) = findings("IF ratio > 1 THEN a ELSE IF amount > 5 THEN b ELSE b", "missing-hole")
    assert "instead of a the default answers b" in found.message


@pytest.mark.parametrize(
    "text",
    [
        "IF ratio > 1 THEN a ELSE IF ratio IS NULL THEN d ELSE b",
        "IF ratio IS NULL THEN d ELSE IF ratio > 1 THEN a ELSE b",
        "IF ratio IS NOT NULL AND ratio > 1 THEN a ELSE b",
        "IF ratio > 1 THEN a ELSE a",
        "IF known > 1 THEN a ELSE b",
        "IF amount > 1 THEN a ELSE b",
        "ON UNKNOWN ERROR IF ratio > 1 THEN a ELSE b",
        "ON UNKNOWN REJECT IF ratio > 1 THEN a ELSE b",
    ],
)
def test_a_missing_value_that_was_thought_of_or_changes_nothing_is_no_hole(text):
    assert not findings(text, "missing-hole")


def test_a_hole_inside_a_nested_cascade_names_the_nested_rule():
    text = "IF amount > 5 THEN (IF ratio > 1 THEN a ELSE b) AS big ELSE b"
    (found,) = findings(text, "missing-hole")
    assert found.rules == ("big/rule1",)


def test_a_decision_table_has_the_same_kinds():
    output = OutputSchema(task="classification", classes=("good", "bad"))
    text = (
        "IF probability.bad < 0.3 THEN approve "
        "ELSE IF probability.bad > 0.3 AND probability.bad > 0.2 THEN decline ELSE refer"
    )
    found = compile_rules(text, features=FEATURES, output=output, kind="decision").analyse()
    codes = {each.code: each for each in found}
    assert "output.probability.bad = 0.3" in codes["near-gap"].message
    assert "`output.probability.bad > 0.2`" in codes["redundant"].message
