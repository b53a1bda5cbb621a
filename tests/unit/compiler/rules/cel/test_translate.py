"""CEL conditions become conditions of the language, or are refused with their place."""

import pytest

from compiler.errors import ProblemsError
from compiler.rules.pipeline import compile_rules
from compiler.rules.print_text import print_condition
from compiler.schema import Feature
from tests.conformance.tables import answers_of, one_rule

FEATURES = {
    "amount": {"type": "float", "nullable": True},
    "n": {"type": "int", "nullable": True},
    "small": {"type": "int", "min": 0, "max": 100},
    "rate": {"type": "float32"},
    "name": {"type": "string"},
    "ok": {"type": "bool"},
    "opened": {"type": "timestamp"},
    "price": {"type": "decimal", "scale": 2},
    "born": {"type": "date"},
    "context.channel": {"type": "enum", "values": ["web", "branch"]},
}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("amount > 5.0 && n <= 4 || !ok", "(amount > 5.0 AND n <= 4) OR NOT (ok = TRUE)"),
        ("n == null", "n IS NULL"),
        ("has(context.channel)", "context.channel IS NOT NULL"),
        ("has(features.n)", "n IS NOT NULL"),
        ("context['channel'] in ['web']", "context.channel IN ('web')"),
        ("rate < 0.45", "rate <= 0.44999998807907104"),
        ("false < ok", "ok = TRUE"),
        ("small + 1 > 3", "small + 1.0 > 3.0"),
        ("size(name) > 0", "name IS NOT EMPTY"),
        ("name.size() == 3", r"name MATCHES '\A[\s\S]{3}\Z'"),
        (r"name.matches(r'^\d+$')", r"name MATCHES '^[0-9]+\Z'"),
        (
            "name.startsWith('a') ? ok : n > 3",
            "(name BEGINS WITH 'a' AND ok = TRUE) OR (NOT (name BEGINS WITH 'a') AND n > 3)",
        ),
        ("(n > 3) == ok", "NOT (n > 3 XOR ok = TRUE)"),
        ("['a', 'b'].exists(x, x == name)", "name = 'a' OR name = 'b'"),
        ("opened > timestamp('2024-01-01T00:00:00+02:00')", "opened > '2023-12-31T22:00:00Z'"),
        ("now - opened <= duration('24h')", "opened IN LAST '1d' OR opened > NOW"),
        ("price > 1.5", "price > 1.5"),
        ("n in [1, 2.5, 3u]", "n IN (1, 3)"),
        ("1 + 2 == 3 && 'ab'.size() == 2", "TRUE"),
    ],
)
def test_text_becomes_the_condition_that_means_the_same(text, becomes):
    rules, problems = one_rule({"cel": text}, FEATURES)
    assert rules is not None, problems
    assert print_condition(rules.table.rules[0].condition) == becomes


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("n >", "cel.syntax", "1:4"),
        ("n ==\n  'a", "cel.syntax", "2:3"),
        ("'\\q' == name", "cel.syntax", "1:1"),
        ("nam == 'x'", "rule.unknown_feature", "1:1"),
        ("n > 'a'", "rule.type_mismatch", "1:3"),
        ("name > 'a'", "cel.subset", "1:6"),
        ("has(n)", "cel.subset", "1:1"),
        ("n + 1 > 3", "cel.subset", "1:3"),
        ("small / 2 > 3", "cel.subset", "1:7"),
        ("amount + 1 > 3.0", "cel.subset", "1:8"),
        ("price > 0.1", "cel.subset", "1:7"),
        ("born > 'a'", "cel.subset", "1:6"),
        ("n < 1e30", "cel.subset", "1:3"),
        ("n == amount", "cel.subset", "1:3"),
        ("now - opened < duration('1h')", "cel.subset", "1:14"),
        ("now - opened <= duration('1.5s')", "cel.subset", "1:14"),
        ("ok && 1 / 0 > 2", "cel.always_fails", "1:9"),
        ("ok ? 1 / 0 > 2 : false", "cel.always_fails", "1:8"),
        ("1 + 2", "cel.not_a_condition", "1:3"),
        ("'a'", "cel.not_a_condition", "1:1"),
        ("n", "cel.subset", "1:1"),
        ("name.lowerAscii() == 'a'", "cel.function", "1:6"),
        ("name.matches('(?i)a')", "rule.regex", "1:6"),
        ("name.matches('(a+)+')", "rule.regex", "1:6"),
        ("context.channel == 'shop'", "rule.enum_value", "1:17"),
        ("if == 1", "cel.syntax", "1:1"),
        ("9223372036854775808 == n", "cel.syntax", "1:1"),
    ],
)
def test_what_cannot_be_exact_is_refused_where_it_stands(text, code, place):
    rules, problems = one_rule({"cel": text}, FEATURES)
    assert rules is None
    assert problems[0].code == code
    assert problems[0].at == f"$.conditions[0].antecedent.cel@{place}"


def test_every_faulty_side_of_a_text_is_reported_at_once():
    _, problems = one_rule({"cel": "nam == 'x' && n > 'a' || amount.foo"}, FEATURES)
    assert [problem.code for problem in problems] == [
        "rule.unknown_feature",
        "rule.type_mismatch",
        "rule.unknown_feature",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 400 + "ok" + ")" * 400,
        "!" * 400 + "ok",
        "ok || " * 3000 + "ok",
        "[1]" + ".map(x, [x, x])" * 60 + " == []",
        "['a']" + ".map(x, x + x)" * 60 + " == []",
        "[1,2,3,4,5,6,7,8,9]" + ".all(a, [1,2,3,4,5,6,7,8,9]" * 9 + ".all(a, ok" + ")" * 10,
        "(" * 20 + "ok" + " ? ok : ok)" * 20,
        "(" * 20 + "ok" + " ? ok : ok) ? ok : ok" * 1 + ")" * 19,
        "9" * 5000 + " == n",
        "\x00",
        "ok \\",
        "`ok`",
        "'" + "a" * 9000,
    ],
)
def test_hostile_text_is_refused_in_bounded_time_without_a_traceback(text):
    rules, problems = one_rule({"cel": text}, FEATURES)
    assert rules is None or "ok" in text
    assert rules is not None or problems


def test_texts_of_one_table_share_a_budget():
    text = "[1, 2, 3, 4, 5, 6, 7, 8, 9]"
    costly = {"cel": f"{text}.all(a, {text}.all(b, {text}.all(c, a + b + c > 0)))"}
    one, _ = one_rule(costly, FEATURES)
    assert one is not None
    _, problems = one_rule({"combinator": "and", "rules": [costly] * 400}, FEATURES)
    assert "all texts of a table" in problems[0].message
    assert {problem.code for problem in problems} == {problems[0].code, "rule.many_problems"}


def test_text_that_is_no_text_is_a_problem_and_so_is_a_key_beside_it():
    assert one_rule({"cel": 5}, FEATURES)[1][0].code == "rule.shape"
    assert one_rule({"cel": "ok", "not": True}, FEATURES)[1][0].code == "rule.unknown_key"


def test_missing_value_is_unknown_and_absorbed_as_an_error_of_cel_is():
    rules, _ = one_rule({"cel": "n > 3 || ok"}, FEATURES)
    assert set(answers_of(rules, {"n": None, "ok": True}).values()) == {True}
    assert set(answers_of(rules, {"n": None, "ok": False}).values()) == {None}
    rules, _ = one_rule({"cel": "n > 3 && ok"}, FEATURES)
    assert set(answers_of(rules, {"n": None, "ok": False}).values()) == {False}


def test_groups_of_the_json_form_may_hold_texts_of_cel():
    leaf = {"field": "n", "operator": "<", "value": 9}
    group = {"combinator": "or", "not": True, "rules": [{"cel": "ok && n > 3"}, leaf]}
    rules, _ = one_rule(group, FEATURES)
    assert set(answers_of(rules, {"n": 12, "ok": False}).values()) == {True}
    assert set(answers_of(rules, {"n": 12, "ok": True}).values()) == {False}


def test_decision_table_reads_the_answer_of_the_model_in_cel():
    text = "probability['very good'] > 0.7 && output.label == 'very good' && amount < 9.0"
    table = {
        "$schema": "interlock/rules/v1",
        "kind": "decision",
        "features": {"amount": {"type": "float"}},
        "output": {"task": "classification", "classes": ["bad", "very good"]},
        "conditions": [
            {
                "antecedent": {"cel": text},
                "consequent": {"type": "decision", "decision": "approve"},
            }
        ],
        "defaultConsequent": {"type": "decision", "decision": "decline"},
    }
    route = compile_rules(table, kind="decision").scalar("dict")
    assert route({"amount": 5.0}, None, 0, ("very good", (0.2, 0.8))) == 0
    assert route({"amount": 5.0}, None, 0, ("very good", (0.4, 0.6))) == 1
    assert route({"amount": 9.0}, None, 0, ("very good", (0.2, 0.8))) == 1


def test_features_given_beside_the_envelope_are_known_and_win():
    rule = {
        "antecedent": {"cel": "a > 5.0"},
        "consequent": {"type": "model", "model": "m"},
    }
    table = {
        "$schema": "interlock/rules/v1",
        "conditions": [rule],
        "defaultConsequent": {"type": "reject"},
    }
    rules = compile_rules(table, features={"a": Feature(type="float")})
    assert rules.reference({"a": 6.0})[0] == 0


def test_problem_is_placed_in_the_json_document_and_in_the_text():
    source = """{"$schema": "interlock/rules/v1", "features": {"a": {"type": "float"}},
 "conditions": [{"antecedent": {"cel": "a > 5.0 &&\\n a < 'x'"},
                 "consequent": {"type": "model", "model": "m"}}],
 "defaultConsequent": {"type": "reject"}}"""
    with pytest.raises(ProblemsError) as refused:
        compile_rules(source)
    assert refused.value.problems[0].at == "2:40 $.conditions[0].antecedent.cel@2:4"
