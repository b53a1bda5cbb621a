"""Tables with one defect of each kind: the command line names every one with its place."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from interlock.commands.rules import rules

DATA = Path(__file__).parents[3] / "data" / "rules"
ROUTING = {
    ("error", "protected_in_rule", "2:4"): "rule protected",
    ("error", "contradiction", "3:9"): "in contradiction",
    ("error", "unreachable", "9:9"): "whenever it is true rule redundant has decided",
    ("warning", "tautology", "5:6"): "rule broker/tautology",
    ("warning", "near-gap", "11:27"): "score = 600; just below rule below does, just above",
    ("warning", "missing-hole", "11:9"): "`ratio` MISSING rule below is UNKNOWN",
    ("warning", "overlap", "8:9"): "protected decides: manual_review, not light",
    ("note", "gap", ""): "only the default answers",
    ("note", "missing-hole", "10:9"): "instead of ensemble the default answers standard",
    ("note", "overlap", "12:9"): "redundant and above can both be true and agree",
    ("note", "redundant", "8:43"): "`amount < 9000.0` in rule redundant may be left out",
}  # fmt: skip
DECISIONS = {
    ("error", "protected_in_rule", "2:4"): "rule protected",
    ("error", "contradiction", "3:9"): "in contradiction",
    ("error", "unreachable", "5:9"): "whenever it is true rule redundant has decided",
    ("warning", "tautology", "7:6"): "rule indebted/tautology",
    ("warning", "near-gap", "10:27"): "output.probability.bad = 0.5",
    ("warning", "missing-hole", "10:9"): "instead of approve the default answers second_look",
    ("warning", "overlap", "6:9"): "protected and indebted can both be true and disagree",
    ("note", "gap", ""): "only the default answers",
    ("note", "missing-hole", "6:9"): "rule indebted is UNKNOWN",
    ("note", "overlap", "10:9"): "redundant and below can both be true and agree",
    ("note", "redundant", "4:54"): "`output.probability.bad < 0.3`",
}
TABLES = {"every_defect": ("routing", ROUTING), "every_defect_decisions": ("decision", DECISIONS)}


def run(command, table, *more, kind="routing", schema=None):
    schema = schema or DATA / f"{Path(table).stem}.schema.json"
    words = [command, str(table), "--schema", str(schema), "--kind", kind, *more]
    return CliRunner().invoke(rules, words)


@pytest.mark.parametrize("name", TABLES)
def test_check_names_each_defect_with_level_kind_place_and_rule(name):
    kind, wanted = TABLES[name]
    done = run("check", DATA / f"{name}.txt", kind=kind)
    assert done.exit_code == 1
    assert done.stderr == ""
    for (level, code, place), words in wanted.items():
        start, end = f"{level}: {code}: ", f" - at {place}" if place else ""
        lines = [line for line in done.stdout.splitlines() if line.startswith(start)]
        assert any(words in line and line.endswith(end) for line in lines), (code, lines)


@pytest.mark.parametrize("name", TABLES)
def test_nothing_else_is_an_error_and_the_places_are_those_of_the_file(name):
    kind, wanted = TABLES[name]
    text = (DATA / f"{name}.txt").read_text().splitlines()
    found = json.loads(run("check", DATA / f"{name}.txt", "--json", kind=kind).stdout)["findings"]
    errors = {
        (each["level"], each["code"], each["at"]) for each in found if each["level"] == "error"
    }
    assert errors == {key for key in wanted if key[0] == "error"}
    for each in found:
        if each.get("at"):
            line, column = map(int, each["at"].split(":"))
            assert re.match(r"[a-z_.]+ ", text[line - 1][column - 1 :]), each


@pytest.mark.parametrize("name", TABLES)
def test_every_example_can_be_given_to_explain(name):
    kind, _ = TABLES[name]
    table = DATA / f"{name}.txt"
    for each in json.loads(run("check", table, "--json", kind=kind).stdout)["findings"]:
        if "example" not in each:
            continue
        row = json.dumps(each["example"])
        done = run("explain", table, "--input", row, "--json", kind=kind)
        told = json.loads(done.stdout)
        concerned = each["rules"][0]
        if each["code"] in ("gap", "near-gap"):
            assert told["rule"] == "default"
        elif each["code"] == "missing-hole":
            assert concerned in told["unknown"]
        elif each["code"] == "unreachable":
            assert told["rule"] != concerned
        elif each["code"] == "overlap":
            assert told["rule"].split("/")[0] == concerned
        else:
            assert concerned in [rule["rule"] for rule in told["rules"]]


def test_the_json_form_has_the_same_findings_at_its_own_places(tmp_path):
    kept = run("convert", DATA / "every_defect.txt", "--to", "json")
    table = tmp_path / "every_defect.json"
    table.write_text(kept.stdout)
    document = json.loads(kept.stdout)
    schema = DATA / "every_defect.schema.json"
    text = json.loads(run("check", DATA / "every_defect.txt", "--json").stdout)["findings"]
    done = run("check", table, "--json", schema=schema)
    assert done.exit_code == 1
    found = json.loads(done.stdout)["findings"]

    def plain(each):
        return each["level"], each["code"], each.get("rules"), each.get("example")

    assert [plain(each) for each in found] == [plain(each) for each in text]
    for each in found:
        node = document
        for word, number in re.findall(r"\.(\w+)|\[(\d+)\]", each.get("at", "")):
            node = node[int(number)] if number else node[word]
        assert node


def test_warnings_and_notes_end_with_status_0(tmp_path):
    table = tmp_path / "table.txt"
    table.write_text(
        "IF ratio <= 1 AND score < 600 THEN a ELSE IF ratio <= 1 AND score > 600 THEN b "
        "ELSE IF ratio > 1 THEN b ELSE c"
    )
    done = run("check", table, schema=DATA / "every_defect.schema.json")
    assert "warning: near-gap" in done.stdout
    assert "warning: missing-hole" in done.stdout
    assert done.exit_code == 0
