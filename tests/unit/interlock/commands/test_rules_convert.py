"""``interlock rules convert``: every form of the lending tables, refusals with their reasons."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from interlock.commands.rules import rules
from interlock.commands.rules_convert import FORMS

FLOAT = {"type": "float", "nullable": True}
SCHEMA = {
    "loan_amount": FLOAT,
    "credit_score": {"type": "int"},
    "debt_to_income": FLOAT,
    "applicant_age": {"type": "int"},
    "credit_history_years": FLOAT,
    "name": {"type": "string"},
}
LOANS = """IF loan_amount < 50000 AND credit_score > 700 THEN lightweight_approval
ELSE IF loan_amount > 250000 OR debt_to_income > 0.45 THEN complex_risk_ensemble
ELSE standard_underwriting
"""
AGES = "IF applicant_age > 40 AND credit_history_years > 10 THEN model_v2 ELSE model_v1"
HEADED = """TABLE 'loans' REVISION 7 DESCRIPTION 'who answers'
ON UNKNOWN REJECT 'incomplete'
IF loan_amount < 5.5 THEN (
  IF name IS EMPTY THEN REJECT AS nameless
  ELSE "a b" @ 3
) AS small DESCRIPTION 'it''s small'
ELSE IF NOT (name CONTAINS 'x' IGNORE CASE) THEN SHADOW a WITH b, c @ 2
ELSE SPLIT (90: champion, 10: challenger @ 2 AS new) BY name SALT 's' LAYER 'l'
"""
DECISION = {
    "kind": "decision",
    "output": {"task": "classification", "classes": ["bad", "good"]},
    "conditions": [
        {
            "antecedent": {"field": "probability.bad", "operator": "<", "value": 0.3},
            "consequent": {"type": "decision", "decision": "approve"},
        }
    ],
    "defaultConsequent": {"type": "decision", "decision": "decline"},
}


@pytest.fixture(name="convert")
def _convert(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))

    def run(table, form, *more):
        file = tmp_path / "table"
        file.write_text(table if isinstance(table, str) else json.dumps(table))
        command = ["convert", str(file), "--to", form, "--schema", str(schema), *more]
        return CliRunner().invoke(rules, command)

    return run


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("table", [LOANS, AGES, DECISION], ids=["loans", "ages", "decision"])
def test_the_lending_tables_convert_to_every_form(convert, table, form):
    done = convert(table, form)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("\n")
    if form == "python":
        compile(done.stdout, "exported", "exec")


@pytest.mark.parametrize("form", ["json", "text", "cel"])
def test_what_our_forms_hold_decides_as_before(convert, form):
    features = {name: Feature(**feature) for name, feature in SCHEMA.items()}
    before = compile_rules(LOANS, features=features)
    after = compile_rules(convert(LOANS, form).stdout, features=features)
    assert after.source == before.source
    assert after.ids == before.ids


def test_a_canonical_text_is_its_own_conversion(convert):
    done = convert(HEADED, "text")
    assert done.stdout == HEADED
    assert done.stderr.startswith("differs: text.features: ")
    assert convert(convert(HEADED, "json").stdout, "text").stdout == HEADED


def test_sql_refuses_a_split_with_its_reason_and_prints_nothing(convert):
    done = convert(HEADED, "sql")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "refused: sql.split: expected a consequent that SQL can name" in done.stderr
    assert "hint: " in done.stderr


def test_cel_refuses_every_rule_that_it_cannot_say_at_once(convert):
    table = (
        "IF name CONTAINS 'x' IGNORE CASE THEN a ELSE IF loan_amount IS NAN THEN b "
        "ELSE IF name MATCHES 'x$' THEN c ELSE IF credit_score > 5 THEN d ELSE e"
    )
    done = convert(table, "cel")
    assert (done.exit_code, done.stdout) == (1, "")
    assert [f"(rule rule{n})" in done.stderr for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_differences_are_told_and_stand_in_the_sql(convert):
    table = "IF loan_amount * 2 > 5 AND name CONTAINS 'a' IGNORE CASE THEN a ELSE b"
    done = convert(table, "sql")
    assert done.exit_code == 0
    told = [line.partition(": ")[2] for line in done.stderr.splitlines() if "differs: " in line]
    assert [line.partition(":")[0] for line in told] == ["sql.range", "sql.ascii"]
    assert all(line.partition(": ")[2].split(" - at ")[0] in done.stdout for line in told)


def test_no_table_is_status_2_with_its_line(convert):
    done = convert("IF loan_amount < 5 THNE a ELSE b", "sql")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "1 | IF loan_amount < 5 THNE a ELSE b\n  |                    ^" in done.stderr
