"""``interlock rules import``: a table on standard output, differences and reasons beside it."""

import msgspec
import pytest
from click.testing import CliRunner

from compiler.rules.pipeline import compile_rules
from interlock.commands.rules import rules

CHAIN = '{"if": [{"<": [{"var": "amount"}, 2000]}, "quick", "standard"]}'
QUERY = '{"combinator": "and", "rules": [{"field": "amount", "operator": "<", "value": "2000"}]}'
SCHEMA = '{"amount": {"type": "float"}}'


@pytest.fixture
def run(tmp_path):
    (tmp_path / "schema.json").write_text(SCHEMA)

    def command(source, text, *more):
        (tmp_path / "rule.json").write_text(text)
        words = ["import", str(tmp_path / "rule.json"), "--from", source, *more]
        return CliRunner().invoke(rules, [word.replace("SCHEMA", str(tmp_path / "schema.json"))
                                          for word in words])  # fmt: skip

    return command


def test_jsonlogic_is_printed_as_a_table_that_compiles(run):
    done = run("jsonlogic", CHAIN, "--schema", "SCHEMA")
    assert (done.exit_code, done.stderr) == (0, "")
    table = compile_rules(msgspec.json.decode(done.stdout))
    assert table.models() == ("quick", "standard")


def test_differences_stand_on_standard_error_with_their_place(run):
    done = run("querybuilder", QUERY, "--schema", "SCHEMA", "--then", "quick", "--else", "slow")
    assert done.exit_code == 0
    assert compile_rules(msgspec.json.decode(done.stdout)).models() == ("quick", "slow")
    assert "differs: querybuilder.text_value" in done.stderr
    assert "at 1:79 $.rules[0].value" in done.stderr


def test_refusal_ends_with_one_and_every_reason(run):
    done = run("jsonlogic", '{"if": [{"%": [1, 2]}, "a", {"cat": ["b"]}]}')
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("refused: ") == 2
    assert "1:15 $.if[0].%" in done.stderr


@pytest.mark.parametrize("text", ["{", "", "\x00", "[" * 100_000, '{"a": NaN}'])
def test_unreadable_file_ends_with_two_and_no_traceback(run, text):
    done = run("querybuilder", text)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "error: " in done.stderr


@pytest.mark.parametrize("raw", [CHAIN.encode("utf-16"), b"\xff{}", b" " * (16 * 2**20 + 1)])
def test_other_bytes_and_huge_files_are_unreadable(run, raw, tmp_path):
    (tmp_path / "raw.json").write_bytes(raw)
    words = ["import", str(tmp_path / "raw.json"), "--from", "jsonlogic"]
    done = CliRunner().invoke(rules, words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "error: " in done.stderr


def test_standard_input_is_read_too():
    done = CliRunner().invoke(rules, ["import", "-", "--from", "jsonlogic"], input=CHAIN)
    assert done.exit_code == 0
    assert "amount has no schema and is taken as a nullable float" in done.stderr


def test_deeply_nested_rule_is_refused_without_a_traceback(run):
    done = run("jsonlogic", '{"!":' * 900 + "true" + "}" * 900)
    assert done.exit_code == 1
    assert "rule.too_deep" in done.stderr
