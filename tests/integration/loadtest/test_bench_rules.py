import sys
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from compiler.rules.pipeline import compile_rules
from interlock.commands.bench import bench
from loadtest.bench import rules, rules_batch
from loadtest.bench.peers import rules_scalar
from loadtest.bench.plots import plot_rules
from loadtest.bench.rules_tables import lending, none_match, ranges, rule_text
from loadtest.errors import LoadTestError

CASES = [lending(), none_match(20), ranges(30)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_generated_code_decides_as_the_hand_written_table(case):
    scalar = compile_rules(rule_text(case), features=case.features).scalar("dict")
    decide, rows = rules_scalar.python(case)
    assert [scalar(row, None, 0) for row in rows] == [decide(row) for row in rows]


def test_lending_rows_reach_every_rule_and_the_rest():
    decide, rows = rules_scalar.python(lending())
    assert {decide(row) for row in rows} == {0, 1, 2}


def test_rows_of_the_second_table_match_nothing():
    case = none_match(20)
    decide, rows = rules_scalar.python(case)
    assert {decide(row) for row in rows} == {len(case.rules)}


def test_every_engine_that_is_named_gets_a_figure_or_is_called_absent():
    absent = []
    found = rules.decisions(lending(), 1, absent)
    assert {*found, *absent} == {rules.OURS, "Python by hand", *rules_scalar.PEERS}
    assert all(value > 0 for value in found.values())


def test_engine_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(rules.PEERS, "no such engine", ("no_such_engine", rules_scalar.zen, 9))
    absent = []
    assert "no such engine" not in rules.decisions(lending(), 1, absent)
    assert "no such engine" in absent


def test_engine_that_answers_differently_is_not_timed(monkeypatch):
    def wrong(case):
        return (lambda row: len(case.rules)), list(case.rows)

    monkeypatch.setattr(rules, "PEERS", {"wrong": ("msgspec", wrong, 9)})
    with pytest.raises(LoadTestError, match="wrong answers differently on the lending table"):
        rules.decisions(lending(), 1, [])


def test_columns_of_every_engine_are_equal_and_measured():
    found = rules_batch.measure(500, 1)
    assert {*found.ten, *found.absent} == {"interlock", *rules_batch.PEERS}
    assert (found.rows, found.many_rows) == (500, 50)


def test_column_engine_that_answers_differently_is_not_timed(monkeypatch):
    def wrong(case, columns):
        return lambda: rules_batch.np.zeros(100)

    monkeypatch.setitem(rules_batch.PEERS, "wrong", wrong)
    monkeypatch.setitem(sys.modules, "wrong", SimpleNamespace(__spec__=SimpleNamespace()))
    with pytest.raises(LoadTestError, match="wrong answers differently on 10 rules"):
        rules_batch.measure(100, 1)


def test_failure_of_the_other_process_is_said_in_its_words():
    with pytest.raises(LoadTestError, match="invalid literal for int"):
        rules_batch.in_process("compile", "many")


def test_memory_and_time_of_a_compilation_come_from_a_process_of_its_own():
    made = msgspec.json.decode(
        rules_batch.in_process("compile", "20"), type=rules_batch.CompileFigures
    )
    assert 0 < made.peak_mb < 1000
    assert made.compile_s > 0


def test_limits_are_judged_only_at_the_size_they_are_about():
    ten = {"interlock": 1.0, "polars": 1.9, "duckdb": 1.0, "numexpr": 0.9}
    small = rules_batch.BatchFigures(ten, [], 2.0, 2.0, 1000, 100)
    assert all(line.held is None for line in rules.batch_lines(small))
    full = rules_batch.BatchFigures(ten, [], 2.0, 0.5, 1_000_000, 100_000)
    verdicts = {(line.what, line.engine): line.held for line in rules.batch_lines(full)}
    what = "10 rules, 1,000,000 rows"
    assert verdicts[what, "polars"] is False
    assert verdicts[what, "duckdb"] is True
    assert verdicts[what, "numexpr"] is False
    assert verdicts["1,000 rules, 100,000 rows", "interlock"] is False
    assert verdicts["two revisions, 1,000,000 rows", "interlock"] is True


def test_report_is_shown_and_plotted(tmp_path, capsys):
    lines = rules.scalar_lines("lending table", {"interlock": 100.0, "Rust CEL": 2000.0},
                               {"Rust CEL": 30.0}, limit_ns=200)  # fmt: skip
    report = rules.RulesReport(
        tuple(lines), {"interlock": [0.1, 0.2], "Rust CEL": [2.0, None]}, (3, 10), ("duckdb",)
    )
    plot_rules(report, tmp_path / "rules.png")
    assert (tmp_path / "rules.png").read_bytes().startswith(b"\x89PNG")
    rules.show(report)
    shown = capsys.readouterr().out
    assert "NOT held" in shown
    assert "not installed: duckdb" in shown


def test_command_is_listed_and_explains_itself():
    assert "rules" in CliRunner().invoke(bench, ["--help"]).output
    assert "--quick" in CliRunner().invoke(bench, ["rules", "--help"]).output
