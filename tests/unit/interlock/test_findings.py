"""What the command line says about findings, and while it looks for them."""

import json

from click.testing import CliRunner

from compiler.rules.finding import Finding
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from interlock.commands.findings import Progress, summary
from interlock.commands.rules import rules

SCHEMA = {"score": {"type": "int"}}
TABLE = {
    "conditions": [
        {
            "antecedent": {"field": "score", "operator": "<", "value": 600},
            "consequent": {"type": "model", "model": "a"},
        },
        {
            "antecedent": {"field": "score", "operator": ">", "value": 600},
            "consequent": {"type": "model", "model": "b"},
        },
    ],
    "defaultConsequent": {"type": "model", "model": "c"},
}


def test_nothing_is_said_in_the_first_second_and_every_phase_after_it(capsys):
    times = iter([100.0, 100.4, 101.0, 101.5, 103.0])
    progress = Progress(lambda: next(times))
    for what in ("one", "two", "three", "four"):
        progress(what)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["analysing: three ...", "analysing: four ..."]


def test_an_analysis_tells_its_phases():
    told: list[str] = []
    compile_rules(TABLE, features={"score": Feature(type="int")}).analyse(told.append)
    assert told[0] == "cases that the table tells apart"
    assert told[-1] == "tests that may be left out"
    assert len(told) == len(set(told)) == 7


def test_findings_about_a_json_table_stand_at_a_line_and_a_path(tmp_path):
    table, schema = tmp_path / "table.json", tmp_path / "schema.json"
    table.write_text(json.dumps(TABLE, indent=1))
    schema.write_text(json.dumps(SCHEMA))
    done = CliRunner().invoke(rules, ["check", str(table), "--schema", str(schema)])
    (line,) = [line for line in done.stdout.splitlines() if "near-gap" in line]
    place, path = line.partition(" - at ")[2].split()
    number, column = map(int, place.split(":"))
    assert path == "$.conditions[0].antecedent"
    assert table.read_text().splitlines()[number - 1][column - 1 :] == "{"
    assert done.stdout.endswith("2 rules and a default, 1 warning, 1 note\n")
    assert done.exit_code == 0


def test_a_table_on_standard_input_is_checked_too(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    text = "IF score > 1 THEN a ELSE IF score <= 1 THEN b ELSE c"
    done = CliRunner().invoke(rules, ["check", "-", "--schema", str(schema)], input=text)
    assert done.exit_code == 0
    assert "note: covered" in done.stdout


def test_counts_are_by_level_and_in_the_right_number():
    one, two = Finding("error", "x", "x"), Finding("note", "x", "x")
    assert summary([one, two, two], 1) == "1 rule and a default, 1 error, 2 notes"
    assert summary([], 3) == "3 rules and a default, nothing to remark"
