"""Who plays in the story, on which data, with which models, rules and applicants."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from msgspec import Struct

ENDPOINT = "credit"
DATASET = "german_credit"
TARGET = "creditability"
PROTECTED = ("personal_status_and_sex", "age_in_years", "foreign_worker")
SOURCE = "Statlog (German Credit Data), UCI Machine Learning Repository, doi.org/10.24432/C5NC77"
LICENCE = "CC BY 4.0"


class Person(Struct, frozen=True):
    """One of the four people."""

    name: str
    email: str
    role: str
    says: str
    """Role in words."""


ADMIN = Person("Ada Stern", "ada@lender.example", "superadmin", "superadmin")
MANAGER = Person("Max Berg", "max@lender.example", "manager", "manager")
SCIENTIST = Person("Dana Roth", "dana@lender.example", "data_scientist", "data scientist")
COMPLIANCE = Person("Cora Lind", "cora@lender.example", "compliance_manager", "compliance manager")
PEOPLE = (ADMIN, MANAGER, SCIENTIST, COMPLIANCE)
SIGNERS = (MANAGER, COMPLIANCE, SCIENTIST)
"""People whose keys are enrolled; Dana's too, so that not a missing key stops her."""


class Plan(Struct, frozen=True):
    """One model to train."""

    model: str
    estimator: str
    params: dict[str, Any]
    why: str


MODELS = (
    Plan(
        "quick_approval",
        "logistic_regression",
        {"C": 0.5},
        "small short loans: a score that a clerk can follow",
    ),
    Plan(
        "standard_underwriting",
        "gradient_boosting",
        {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.08},
        "everything between",
    ),
    Plan(
        "risk_ensemble",
        "random_forest",
        {"n_estimators": 300, "max_depth": 10, "min_samples_leaf": 3},
        "large or long loans without savings",
    ),
)
SEED = 7
TEST_FRACTION = 0.25

RULES = """\
IF credit_amount < 2000 AND (duration_in_month <= 12
     OR savings_account_and_bonds IN ('500 <= ... < 1000 DM', '... >= 1000 DM'))
  THEN quick_approval AS small_and_safe
ELSE IF credit_amount > 8000
     OR (duration_in_month > 36 AND savings_account_and_bonds = '... < 100 DM')
  THEN risk_ensemble AS large_or_long
ELSE standard_underwriting
"""
DECISIONS = """\
IF output.probability.bad < 0.3 THEN approve AS low_risk
ELSE IF output.probability.bad < 0.5 THEN refer AS medium_risk
ELSE decline
"""
ROUTES = {
    "small_and_safe": "quick_approval",
    "large_or_long": "risk_ensemble",
    "default": "standard_underwriting",
}
"""Model behind each rule, to compare the answers with."""

DECLINED_SUBJECT = "applicant-47392"


class Applicant(Struct, frozen=True):
    """One request: a row of the data set, about a person who is known by a reference only."""

    row: int
    subject: str
    rule: str


def applicants() -> tuple[Applicant, ...]:
    """Requests that take each of the three routes, in an order that changes the route each time."""
    wanted = {rule: iter(_rows_of(rule)) for rule in ROUTES}
    order = ("small_and_safe", "default", "large_or_long") * 2
    return tuple(
        Applicant(next(wanted[rule]), f"applicant-{47380 + number}", rule)
        for number, rule in enumerate(order)
    )


def _rows_of(rule: str) -> Iterator[int]:
    return (n for n, row in enumerate(records()) if expected_rule(row) == rule)


def expected_rule(row: dict[str, Any]) -> str:
    """The rule table of this story, once more in plain Python: what a reader would expect."""
    amount, months = row["credit_amount"], row["duration_in_month"]
    savings = row["savings_account_and_bonds"]
    saved = savings in ("500 <= ... < 1000 DM", "... >= 1000 DM")
    if amount < 2000 and (months <= 12 or saved):
        return "small_and_safe"
    if amount > 8000 or (months > 36 and savings == "... < 100 DM"):
        return "large_or_long"
    return "default"


def csv_bytes() -> bytes:
    """The data set as it is shipped."""
    return (files("interlock") / "data" / "german_credit.csv").read_bytes()


def records() -> list[dict[str, Any]]:
    """Rows as requests: numbers as numbers, without target and protected columns."""
    rows = csv.DictReader(csv_bytes().decode().splitlines())
    hidden = (TARGET, *PROTECTED)
    return [
        {name: _value(text) for name, text in row.items() if name not in hidden} for row in rows
    ]


def _value(text: str) -> int | str:
    return int(text) if text.isdigit() else text
