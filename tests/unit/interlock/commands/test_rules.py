"""What people type: tables and rows in, routes and reasons out."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from interlock.commands.rules import rules

LENDING = """\
IF loan_amount < 50000 AND credit_score > 700 THEN lightweight_approval
ELSE IF loan_amount > 250000 OR debt_to_income > 0.45 THEN complex_risk_ensemble
ELSE standard_underwriting
"""
SCHEMA = {
    "loan_amount": {"type": "float"},
    "credit_score": {"type": "int"},
    "debt_to_income": {"type": "float", "nullable": True},
}
ROWS = [
    {"loan_amount": 20_000, "credit_score": 731},
    {"loan_amount": 300_000, "credit_score": 731, "debt_to_income": 0.1},
    {"loan_amount": 100_000, "credit_score": 600},
    {"loan_amount": "many", "credit_score": 700, "debt_to_income": 0.5},
]
ROUTES = [
    {"route": "lightweight_approval", "rule": "rule1", "unknown": []},
    {"route": "complex_risk_ensemble", "rule": "rule2", "unknown": []},
    {"route": "standard_underwriting", "rule": "default", "unknown": ["rule2"]},
    {"route": "complex_risk_ensemble", "rule": "rule2", "unknown": []},
]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.txt").write_text(LENDING)
    (tmp_path / "schema.json").write_bytes(msgspec.json.encode(SCHEMA))
    return [str(tmp_path / "table.txt"), "--schema", str(tmp_path / "schema.json")]


def run(*words, stdin=None):
    return CliRunner().invoke(rules, list(words), input=stdin)


@pytest.mark.parametrize("engine", ["reference", "scalar", "numpy"])
def test_eval_answers_the_same_with_every_engine(engine, table):
    stdin = "\n".join(msgspec.json.encode(row).decode() for row in ROWS)
    done = run("eval", *table, "--input", "-", "--engine", engine, stdin=stdin)
    assert done.exit_code == 0
    assert [msgspec.json.decode(line) for line in done.stdout.splitlines()] == ROUTES


def test_eval_reads_an_empty_csv_cell_as_missing(table, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("loan_amount,credit_score,debt_to_income\n100000,600,\n1,700,0.5\n")
    done = run("eval", *table, "--input", str(rows))
    assert [msgspec.json.decode(line)["unknown"] for line in done.stdout.splitlines()] == [
        ["rule2"],
        [],
    ]


def test_eval_routes_what_came_before_a_bad_row_and_names_its_line(table):
    done = run("eval", *table, "--input", "-", stdin='{"loan_amount": 1}\n[1]\n')
    assert done.exit_code == 2
    assert len(done.stdout.splitlines()) == 1
    assert "-:2" in done.stderr


def test_split_names_the_arm_of_the_unit(tmp_path):
    table = tmp_path / "split.json"
    arms = [{"name": "a", "weight": 1, "model": "m1"}, {"name": "b", "weight": 0, "model": "m2"}]
    split = {"type": "split", "salt": "s", "unit": "split_id", "weights": arms}
    table.write_bytes(
        msgspec.json.encode(
            {
                "$schema": "interlock/rules/v1",
                "features": {"amount": {"type": "int"}},
                "conditions": [],
                "defaultConsequent": split,
            }
        )
    )
    done = run("eval", str(table), "--input", "-", stdin='{"amount": 1, "split_id": "u1"}\n')
    assert done.exit_code == 0, done.stderr
    assert msgspec.json.decode(done.stdout) == {
        "route": "m1",
        "rule": "default",
        "arm": "a",
        "unknown": [],
    }


def test_explain_shows_every_test_with_what_it_read(table):
    done = run("explain", *table, "--input", '{"loan_amount": 300000, "credit_score": 710}')
    assert done.exit_code == 0
    assert "debt_to_income = MISSING" in done.stdout
    assert "-> complex_risk_ensemble" in done.stdout


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("IF lone_amount < 5 THEN a ELSE b", "1:4", "did you mean `loan_amount`?"),
        ("IF loan_amount < 'x' THEN a ELSE b", "1:", "loan_amount"),
        ("IF loan_amount BETWEEN 9 AND 1 THEN a ELSE b", "1:", "9"),
        ("IF loan_amount < THEN a ELSE b", "1:", "expected"),
        ("IF " + "NOT (" * 400 + "loan_amount < 1" + ")" * 400 + " THEN a ELSE b", "1:", "deep"),
        ("{not json", "1:", "JSON"),
    ],
)
def test_check_refuses_with_place_and_remedy(text, place, said, table):
    Path(table[0]).write_text(text)
    done = run("check", *table)
    assert done.exit_code == 2
    assert place in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_check_fails_on_a_rule_that_reads_a_protected_feature(table, tmp_path):
    schema = {**SCHEMA, "credit_score": {"type": "int", "protected": True}}
    (tmp_path / "schema.json").write_bytes(msgspec.json.encode(schema))
    done = run("check", *table)
    assert done.exit_code == 1
    assert "protected_in_rule" in done.stdout


@pytest.mark.parametrize("schema", ["[1]", "{", '{"a": {"type": "shoe"}}'])
def test_unreadable_schema_is_named(schema, table, tmp_path):
    (tmp_path / "schema.json").write_text(schema)
    done = run("check", *table)
    assert done.exit_code == 2
    assert "schema.json" in done.stderr
