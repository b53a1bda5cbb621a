"""``interlock rules diff``: verdicts, regions with examples, replayed requests, refusals."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from compiler.rules.diff.report import diff_tables
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from interlock.commands.rules import rules

SCHEMA = {
    "loan_amount": {"type": "float", "min": 0},
    "credit_score": {"type": "int", "nullable": True},
    "debt_to_income": {"type": "float"},
    "split_id": {"type": "string", "nullable": True},
}
LOANS = """IF loan_amount < 50000 AND credit_score > 700 THEN lightweight_approval
ELSE IF loan_amount > 250000 OR debt_to_income > 0.45 THEN complex_risk_ensemble
ELSE standard_underwriting
"""
SAME = """IF NOT (loan_amount >= 50000 OR credit_score <= 700) THEN lightweight_approval AS quick
ELSE IF debt_to_income > 0.45 OR loan_amount > 250000 THEN complex_risk_ensemble
ELSE standard_underwriting
"""
EASED = LOANS.replace("> 700", "> 680")


@pytest.fixture(name="diff")
def _diff(tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))

    def run(old, new, *more):
        names = []
        for name, table in (("old.txt", old), ("new.txt", new)):
            (tmp_path / name).write_text(table)
            names.append(str(tmp_path / name))
        command = ["diff", *names, "--schema", str(tmp_path / "schema.json"), *map(str, more)]
        return CliRunner().invoke(rules, command)

    return run


def test_same_meaning_is_proved_and_ends_with_0(diff):
    found = diff(LOANS, SAME)
    assert found.exit_code == 0, found.output
    assert "same meaning: proved for every request that the schema accepts" in found.output


def test_a_difference_is_a_region_with_an_example_and_ends_with_1(diff):
    found = diff(LOANS, EASED)
    assert found.exit_code == 1
    assert "standard_underwriting [default]  ->  lightweight_approval [rule1]" in found.output
    assert "credit_score > 680 AND credit_score <= 700" in found.output
    told = json.loads(diff(LOANS, EASED, "--json").output)["diff"]
    assert told["verdict"] == "differs"
    features = {name: Feature(**each) for name, each in SCHEMA.items()}
    old, new = (compile_rules(each, features=features) for each in (LOANS, EASED))
    for region in told["regions"]:
        row = region["example"]
        assert old.ids[old.reference(row)[0]] == region["before"]["rule"]
        assert new.ids[new.reference(row)[0]] == region["after"]["rule"]


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "parquet"])
def test_traffic_is_counted_by_move_with_examples(diff, tmp_path, suffix):
    file = tmp_path / f"rows.{suffix}"
    rows = [
        {"loan_amount": 1000.0 * n, "credit_score": 600 + 10 * n, "debt_to_income": 0.1}
        for n in range(20)
    ]
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        file.write_text("\n".join(lines) + "\n")
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = diff(LOANS, EASED, "--traffic", file)
    assert found.exit_code == 1
    assert "traffic: 2 of 20 requests (10.00%) have another outcome" in found.output
    told = json.loads(diff(LOANS, EASED, "--traffic", file, "--json").output)["traffic"]
    assert [(move["rows"], move["share"]) for move in told["moves"]] == [(2, 0.1)]
    assert sorted(each["row"]["credit_score"] for each in told["examples"]) == [690, 700]


def test_an_edited_split_says_how_many_units_move(diff, tmp_path):
    old = "IF loan_amount > 5 THEN SPLIT (90: a, 10: b) SALT 's'\nELSE c"
    new = old.replace("90: a, 10: b", "80: a, 20: b")
    told = json.loads(diff(old, new, "--json").output)["diff"]
    assert [region["moved"] for region in told["regions"]] == [pytest.approx(0.1, abs=1e-6)]
    assert told["regions"][0]["where"] == ["loan_amount > 5"]
    file = tmp_path / "rows.ndjson"
    rows = [{"loan_amount": 9.0, "split_id": f"u{n}"} for n in range(2000)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    moves = json.loads(diff(old, new, "--traffic", file, "--json").output)["traffic"]["moves"]
    assert [(m["before"]["outcome"], m["after"]["outcome"]) for m in moves] == [("a", "b")]
    assert moves[0]["share"] == pytest.approx(0.1, abs=0.03)


def test_tests_without_cells_are_equal_when_they_are_written_alike(diff):
    old = "IF loan_amount / debt_to_income > 4 AND credit_score > 5 THEN a ELSE b"
    new = "IF credit_score > 5 AND NOT (loan_amount / debt_to_income <= 4) THEN a ELSE b"
    assert diff(old, new).exit_code == 0
    other = old.replace("> 4", "> 4.5")
    found = diff(old, other)
    assert found.exit_code == 1
    assert "(loan_amount / debt_to_income > 4.0)" in found.output
    never = "IF loan_amount * 2 > loan_amount + loan_amount THEN a ELSE b"
    found = diff(never, "IF loan_amount < 0 THEN a ELSE b")
    assert found.exit_code == 1
    assert "not proven" in found.output
    assert "hang on arithmetic" in found.output


def test_one_edit_of_a_thousand_rules_is_found_and_none_is_proved():
    features = {f"f{place}": Feature("float", min=0, max=1000) for place in range(8)}
    lines = [
        f"f{n % 8} >= {low} AND f{n % 8} < {low + 5} AND f{(n + 3) % 8} > {n % 610}"
        for n, low in ((n, n * 37 % 960) for n in range(1000))
    ]
    edited = [*lines[:500], lines[500].replace("AND", "AND f1 > 900 AND", 1), *lines[501:]]
    old, new = (
        compile_rules(
            "\nELSE ".join(f"IF {line} THEN m{at % 3}" for at, line in enumerate(each))
            + "\nELSE d",
            features=features,
        )
        for each in (lines, edited)
    )
    assert diff_tables(old, old, 0).verdict == "same"
    found = diff_tables(old, new, 0)
    assert found.verdict == "differs"
    assert {region.before.rule for region in found.regions} == {"rule501"}
    assert "budget" in found.why


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (LOANS, LOANS.replace("700", "'x'"), "error: "),
        (LOANS, LOANS.replace("loan_amount", "loan_amont"), "loan_amount"),
        (LOANS, "not a table", "error: "),
    ],
)
def test_what_is_not_a_table_is_refused_with_its_place(diff, old, new, code):
    found = diff(old, new)
    assert found.exit_code == 2
    assert code in found.output
    assert "Traceback" not in found.output


def test_tables_of_two_schemas_are_compared_where_both_apply(tmp_path):
    def write(name, amount, rule):
        document = {
            "$schema": "interlock/rules/v1",
            "features": {"amount": amount},
            "conditions": [{"antecedent": rule, "consequent": {"type": "model", "model": "a"}}],
            "defaultConsequent": {"type": "model", "model": "b"},
        }
        (tmp_path / name).write_text(json.dumps(document))
        return str(tmp_path / name)

    rule = {"field": "amount", "operator": "<", "value": 10}
    old = write("old.json", {"type": "float", "min": 0}, rule)
    new = write("new.json", {"type": "float", "min": 20}, {**rule, "value": 15})
    found = CliRunner().invoke(rules, ["diff", old, new])
    assert (found.exit_code, "amount: min was 0, is 20" in found.output) == (0, True), found.output
    text = write("text.json", {"type": "string"}, {**rule, "operator": "=", "value": "x"})
    found = CliRunner().invoke(rules, ["diff", old, text])
    assert found.exit_code == 2
    assert "amount: type was float, is string" in found.output


def test_another_default_of_a_feature_that_is_read_is_never_the_same_meaning():
    text = "IF x > 5 THEN a ELSE b"
    old, new, unread = (
        compile_rules(
            text, features={"x": Feature("float", default=d), "y": Feature("int", default=e)}
        )
        for d, e in ((1.0, 1), (9.0, 1), (1.0, 2))
    )
    found = diff_tables(old, new, 0)
    assert (found.verdict, "requests without x" in found.why) == ("not_proven", True)
    assert diff_tables(old, unread, 0).verdict == "same"
