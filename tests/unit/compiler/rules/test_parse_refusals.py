"""What is not a rule table is refused with expected, got and place, never repaired."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from compiler.errors import ProblemsError
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from interlock.commands.rules import rules

FEATURES = {
    "a": Feature(type="float"),
    "n": Feature(type="int"),
    "name": Feature(type="string", nullable=True),
    "kind": Feature(type="enum", values=("web", "branch")),
    "seen": Feature(type="timestamp"),
}
MODEL = {"type": "model", "model": "m"}


def _table(*antecedents, **more):
    rules_ = [{"antecedent": one, "consequent": MODEL} for one in antecedents]
    return json.dumps({"conditions": rules_, "defaultConsequent": MODEL} | more)


def _test(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def _deep(levels):
    inner = json.dumps(_test("a", "<", 1))
    return _table("HERE").replace(
        '"HERE"', '{"combinator": "and", "rules": [' * levels + inner + "]}" * levels
    )


BAD = {
    "not JSON": ('{"conditions": [}', "rule.syntax", "1:"),
    "JSON cut off": ('{"conditions": [', "rule.syntax", "1:"),
    "a JSON list": ("[1, 2]", "rule.shape", "$"),
    "empty": ("", "rule.syntax", "1:1"),
    "only a comment": ("-- nothing", "rule.syntax", "1:"),
    "brackets without end": ("[" * 100_000, "rule.too_deep", "1:201"),
    "groups too deep": (_deep(40), "rule.too_deep", "$.conditions"),
    "groups far too deep": (_deep(20_000), "rule.too_deep", "1:"),
    "unknown feature": (_table(_test("naem", "=", "x")), "rule.unknown_feature", "$"),
    "unknown feature in text": ("IF naem = 'x' THEN m ELSE m", "rule.unknown_feature", "1:4"),
    "unknown operator": (_table(_test("a", "lessThan", 1)), "rule.unknown_operator", "$"),
    "an operator that is no text": (_table(_test("a", ["<"], 1)), "rule.unknown_operator", "$"),
    "arithmetic that is no text": (
        _table({"lhs": {"op": ["+"], "args": [1, 2]}, "operator": "<", "value": 1}),
        "rule.expression", "$",
    ),
    "text against a number": (_table(_test("a", "<", "5")), "rule.type_mismatch", "$"),
    "number against a text": (_table(_test("name", "=", 5)), "rule.type_mismatch", "$"),
    "text order": (_table(_test("name", "<", "x")), "rule.type_mismatch", "$"),
    "bounds reversed": (_table(_test("a", "between", [5, 1])), "rule.bounds", "$"),
    "bounds reversed in text": ("IF a BETWEEN 5 AND 1 THEN m ELSE m", "rule.bounds", "1:4"),
    "one bound": (_table(_test("a", "between", [5])), "rule.shape", "$"),
    "empty group": (_table({"combinator": "and", "rules": []}), "rule.empty_group", "$"),
    "duplicate id": (
        "IF a < 1 THEN m AS x ELSE IF a > 2 THEN m AS x ELSE m",
        "rule.duplicate_id", "1:",
    ),
    "reserved id": ("IF a < 1 THEN m AS default ELSE m", "rule.reserved_id", "1:4"),
    "NaN": (_table(_test("a", "<", float("nan"))), "rule.literal", "1:73"),
    "NaN behind a text of it": (
        '{"id": "NaN \\" NaN",\n "revision": NaN}',
        "rule.literal", "2:14",
    ),
    "Infinity": (_table(_test("a", "<", float("inf"))), "rule.literal", "1:73"),
    "-Infinity": (_table(_test("a", "<", float("-inf"))), "rule.literal", "1:73"),
    "beyond float64": (
        _table(_test("a", "<", 1)).replace('"value": 1', '"value": 1e999'),
        "rule.literal", "$",
    ),
    "NaN in text": ("IF a < NAN THEN m ELSE m", "rule.syntax", "1:8"),
    "null literal": (_table(_test("a", "=", None)), "rule.null_literal", "$"),
    "catastrophic pattern": (_table(_test("name", "matches", "(a+)+$")), "rule.regex", "$"),
    "pattern that does not parse": (_table(_test("name", "matches", "(")), "rule.regex", "$"),
    "back reference": (_table(_test("name", "matches", r"(a)\1")), "rule.regex", "$"),
    "pattern too long": (_table(_test("name", "matches", "a" * 501)), "rule.regex", "$"),
    "list too long": (_table(_test("n", "in", [1] * 100_001)), "rule.too_large", "$"),
    "enum value": (_table(_test("kind", "=", "wbe")), "rule.enum_value", "$"),
    "thousands of digits": (
        _table(_test("n", "=", 0)).replace('"value": 0', '"value": ' + "9" * 5000),
        "rule.literal", "1:73",
    ),
    "thousands of digits in text": (f"IF n = {'9' * 5000} THEN m ELSE m", "rule.literal", "1:8"),
    "number run into a word": ("IF n = 12abc THEN m ELSE m", "rule.syntax", "1:8"),
    "span beyond the calendar": (
        _table(_test("seen", "inLast", "999999999w")),
        "rule.literal", "$",
    ),
    "NUL in text": ("IF a < 1\0 THEN m ELSE m", "rule.syntax", "1:9"),
    "NUL in JSON": ('{"conditions": [\0]}', "rule.syntax", "1:"),
    "invalid UTF-8": (b"IF a < 1 THEN m\xff ELSE m", "rule.syntax", "byte 15"),
    "UTF-16": ("IF a < 1 THEN m ELSE m".encode("utf-16"), "rule.syntax", "byte 0"),
    "half a surrogate pair": (_table(_test("name", "=", "\ud800")), "rule.literal", "1:76"),
    "parentheses too deep": (
        "IF " + "(" * 5000 + "a < 1" + ")" * 5000 + " THEN m ELSE m",
        "rule.too_deep", "1:",
    ),
    "NOT too deep": ("IF " + "NOT " * 5000 + "a < 1 THEN m ELSE m", "rule.too_deep", "1:"),
    "minus too deep": ("IF " + "- " * 5000 + "a < 1 THEN m ELSE m", "rule.too_deep", "1:"),
    "CEL too deep": (_table({"cel": "(" * 5000 + "a < 1.0" + ")" * 5000}), "", "$"),
    "CEL syntax": (_table({"cel": "a <"}), "cel.syntax", "$.conditions[0].antecedent.cel@1:4"),
    "no default": ('{"conditions": []}', "rule.no_default", "$"),
    "no default in text": ("IF a < 1 THEN m", "rule.no_default", "1:16"),
    "nested default": ("IF a < 1 THEN m ELSE (IF a < 2 THEN m ELSE m)", "rule.consequent", "1:22"),
    "nested default in JSON": (
        _table(defaultConsequent={"type": "rules", "conditions": [], "defaultConsequent": MODEL}),
        "rule.consequent", "$.defaultConsequent",
    ),
    "unclosed quote": ("IF name = 'x THEN m ELSE m", "rule.syntax", "1:11"),
    "unknown key": (_table(_test("a", "<", 1), descripton="x"), "rule.unknown_key", "$.descripton"),
    "id that is no text": (_table(_test("a", "<", 1), id=5), "rule.shape", "$.id"),
    "revision that is no number": (
        _table(_test("a", "<", 1), revision="7"),
        "rule.shape", "$.revision",
    ),
    "features of no schema": ('{"text": "ELSE m", "features": 5}', "schema.invalid", "$.features"),
    "text that is no text": ('{"text": 5}', "rule.shape", "$.text"),
    "version 0": ("IF a < 1 THEN m @ 0 ELSE m", "rule.consequent", "1:15"),
    "weights of nothing": ("IF a < 1 THEN SPLIT (0: m) SALT 's' ELSE m", "rule.consequent", "1:15"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_table_is_refused_with_code_and_place(name):
    document, code, at = BAD[name]
    with pytest.raises(ProblemsError) as error:
        compile_rules(document, features=FEATURES)
    found = error.value.problems
    match = [problem for problem in found if problem.code.startswith(code)]
    assert match, [str(problem) for problem in found]
    assert any(at in problem.at for problem in match), [str(problem) for problem in match]
    for problem in found:
        assert "expected" in problem.message
        assert "got" in problem.message
        assert problem.hint, str(problem)
        assert problem.at, str(problem)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", [["check"], ["convert", "--to", "json"]])
def test_the_command_line_ends_with_status_2_and_no_traceback(name, command, tmp_path):
    document = BAD[name][0]
    table, schema = tmp_path / "table", tmp_path / "schema.json"
    raw = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
    table.write_bytes(raw)
    schema.write_text(json.dumps({n: {"type": f.type, **({"values": f.values} if f.values else {})}
                                  for n, f in FEATURES.items()}))  # fmt: skip
    done = CliRunner().invoke(
        rules, [command[0], str(table), "--schema", str(schema), *command[1:]]
    )
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""
    assert max(map(len, done.stderr.splitlines())) < 600


@pytest.mark.parametrize(
    ("document", "at"),
    [
        ("IF a < 1 THEN m\nELSE IF name = '\ud800' THEN m ELSE m", "2:17"),
        ({"conditions": [], "defaultConsequent": {"type": "model", "model": "\udc00"}}, "$"),
        ({"text": "ELSE m", "features": {"x": {"type": "\ud800"}}}, "$"),
        ({"conditions": [], "defaultConsequent": MODEL, "output": "\ud800"}, "$"),
    ],
)
def test_half_a_character_in_a_python_text_is_refused_too(document, at):
    with pytest.raises(ProblemsError) as error:
        compile_rules(document, features=FEATURES)
    (problem,) = error.value.problems
    assert (problem.code, problem.at) == ("rule.literal", at)
    assert "surrogate" in problem.message


def test_a_byte_order_mark_is_no_part_of_either_form():
    for text in ("IF a < 1 THEN m ELSE m", _table(_test("a", "<", 1))):
        assert compile_rules(b"\xef\xbb\xbf" + text.encode(), features=FEATURES).ids


def test_of_duplicate_keys_the_last_one_counts():
    last = '"defaultConsequent": {"type": "model", "model": "x"}'
    text = '{"conditions": [], "defaultConsequent": {"type": "reject"}, ' + last + "}"
    assert compile_rules(text).models() == ("x",)


TEXT = """IF a < 5 THNE m
ELSE IF nam = 'q' THEN m
ELSE IF a BETWEN 1 AND 2 THEN (IF a > 3 THEN m ELSE m)
IF name = 3 THEN m
ELSE IF name = 'abc THEN m
ELSE IF n > 12abc THEN m
ELSE IF a > 3 THEN m # x
ELSE"""


def test_every_faulty_rule_of_a_text_is_told_at_once_in_order():
    with pytest.raises(ProblemsError) as error:
        compile_rules(TEXT, features=FEATURES)
    found = [(problem.at, problem.hint) for problem in error.value.problems]
    assert [at for at, _ in found] == [
        "1:10", "2:9", "3:11", "4:1", "4:4", "5:16", "6:13", "7:22", "8:5",
    ]  # fmt: skip
    assert found[0][1] == "did you mean `THEN`?"
    assert found[1][1] == "did you mean `name`?"
    assert found[2][1] == "did you mean `BETWEEN`?"


def test_every_problem_of_a_json_table_is_told_at_once_with_line_and_path():
    text = (
        '{"conditions": [\n'
        '  {"antecedent": {"field": "naem", "operator": "=", "value": "x"},\n'
        '   "consequent": {"type": "model", "model": "m"}},\n'
        '  {"antecedent": {"field": "a", "operator": "lessThan", "value": 3},\n'
        '   "consequent": {"type": "modle"}}],\n'
        ' "onUnknown": "never"}'
    )
    with pytest.raises(ProblemsError) as error:
        compile_rules(text, features=FEATURES)
    assert [(problem.code, problem.at) for problem in error.value.problems] == [
        ("rule.no_default", "1:1 $"),
        ("rule.unknown_feature", "2:28 $.conditions[0].antecedent.field"),
        ("rule.unknown_operator", "4:45 $.conditions[1].antecedent.operator"),
        ("rule.consequent", "5:18 $.conditions[1].consequent"),
        ("rule.on_unknown", "6:15 $.onUnknown"),
    ]


def test_the_command_line_points_into_the_source(tmp_path):
    for text in (
        "IF a < 1 THEN m\nELSE IF b < 2 THEN m\nELSE m",
        '{"conditions": [\n  {"x": 1}\n]}',
    ):
        table = tmp_path / "table"
        table.write_text(text)
        lines = CliRunner().invoke(rules, ["check", str(table)]).stderr.splitlines()
        carets = [i for i, line in enumerate(lines) if line.rstrip().endswith("^")]
        assert carets
        for i in carets:
            number, _, shown = lines[i - 1].partition(" | ")
            assert text.splitlines()[int(number) - 1] == shown
            assert shown[len(lines[i]) - 1 - len(number) - 3] in 'ab1{["'
