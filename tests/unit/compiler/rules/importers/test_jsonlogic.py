"""JsonLogic rules become tables with the same answers, or are refused with every reason."""

import pytest

from compiler.errors import ProblemsError
from compiler.rules.importers.jsonlogic import import_jsonlogic
from compiler.rules.pipeline import compile_rules
from compiler.rules.print_text import print_condition
from compiler.schema import Feature
from tests.conformance.tables import routes_of

FEATURES = {
    "a": Feature(type="float", nullable=True),
    "n": Feature(type="int", min=0, max=100),
    "s": Feature(type="string", nullable=True),
    "t": Feature(type="string"),
    "ok": Feature(type="bool"),
    "day": Feature(type="date"),
    "at": Feature(type="timestamp"),
    "price": Feature(type="decimal", scale=2),
    "kind": Feature(type="enum", values=("x", "y")),
}


def condition_of(rule):
    found = import_jsonlogic(rule, FEATURES)
    return print_condition(compile_rules(found.document).table.rules[0].condition)


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        ({"<": [{"var": "a"}, 15]}, "a IS NULL OR a < 15.0"),
        ({">": [{"var": "a"}, 15]}, "a IS NOT NULL AND a > 15.0"),
        ({"<": [15, {"var": ["a", 20]}]}, "a IS NULL OR a > 15.0"),
        ({"!=": [{"var": "s"}, "x"]}, "s IS NULL OR s != 'x'"),
        ({"<=": [1, {"var": "n"}, 9]}, "n >= 1 AND n <= 9"),
        ({"===": [{"var": "n"}, "5"]}, "FALSE"),
        ({"==": [{"var": "n"}, "5"]}, "n = 5"),
        ({"==": [{"var": "ok"}, 1]}, "ok = TRUE"),
        ({"!": {"var": "s"}}, "NOT (s IS NOT NULL AND s IS NOT EMPTY)"),
        ({"in": ["b", {"var": "t"}]}, "t CONTAINS 'b'"),
        ({"in": [{"var": "t"}, ["a", "b", 3]]}, "t = 'a' OR t = 'b'"),
        ({"!!": {"missing": ["a", "t"]}}, "a IS NULL OR t IS EMPTY"),
        ({"!!": {"missing_some": [1, ["a", "s"]]}}, "a IS NULL AND (s IS NULL OR s IS EMPTY)"),
        ({">": [{"+": [{"var": "n"}, 1, 2]}, 5]}, "(n + 1.0) + 2.0 > 5.0"),
        ({"==": [{"<": [{"var": "n"}, 5]}, False]}, "NOT (n < 5)"),
        (
            {"!!": {"if": [{"var": "ok"}, {"<": [{"var": "n"}, 3]}, True]}},
            "(ok = TRUE AND n < 3) OR NOT (ok = TRUE)",
        ),
        ({"<": [{"var": "day"}, "2024-06-15"]}, "day < '2024-06-15'"),
        ({"==": [{"var": "a"}, {"var": "n"}]}, "a IS NOT DISTINCT FROM n"),
    ],
)
def test_expression_becomes_a_test_that_is_never_unknown(rule, becomes):
    assert condition_of(rule) == becomes


def test_chain_becomes_a_cascade_with_nested_ones_and_a_rejection_for_null():
    rule = {
        "if": [
            {"<": [{"var": "n"}, 5]},
            "small",
            {"var": "ok"},
            {"if": [{">": [{"var": "n"}, 50]}, "big", "middle"]},
        ]
    }
    found = import_jsonlogic(rule, FEATURES)
    rules = compile_rules(found.document)
    names = [getattr(leaf, "model", "reject") for leaf in rules.consequents]
    for row, route in [
        ({"n": 1, "ok": True}, "small"),
        ({"n": 60, "ok": True}, "big"),
        ({"n": 20, "ok": True}, "middle"),
        ({"n": 20, "ok": False}, "reject"),
    ]:
        assert {names[index] for index in routes_of(rules, row).values()} == {route}
    assert [difference.code for difference in found.differences] == ["jsonlogic.null"]


def test_chain_behind_else_goes_on_with_the_same_cascade():
    inner = {"if": [{"var": "ok"}, "second", "third"]}
    found = import_jsonlogic({"if": [{"<": [{"var": "n"}, 5]}, "first", inner]}, FEATURES)
    assert compile_rules(found.document).ids == ("rule1", "rule2", "default")
    assert compile_rules(found.document).models() == ("first", "second", "third")


def test_bare_condition_routes_to_the_models_asked_for():
    found = import_jsonlogic({"var": "ok"}, FEATURES, then="yes_model", otherwise="no_model")
    assert compile_rules(found.document).models() == ("yes_model", "no_model")


def test_types_are_inferred_from_literals_and_said_to_be():
    found = import_jsonlogic({"and": [{"<": [{"var": "x"}, 5]}, {"==": [{"var": "w"}, "a"]}]})
    assert {name: f["type"] for name, f in found.document["features"].items()} == {
        "x": "float",
        "w": "string",
    }
    assert [difference.code for difference in found.differences] == ["jsonlogic.schema"] * 2


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"<": [{"var": "price"}, 5]}, "jsonlogic.decimal"),
        ({"==": [{"var": "kind"}, "z"]}, "jsonlogic.enum"),
        ({"==": [{"var": "n"}, "5"]}, "jsonlogic.coercion"),
        ({">": [{"*": [{"var": "n"}, 2]}, 5]}, "jsonlogic.overflow"),
        ({">": [{"var": ["a", 7]}, 5]}, "jsonlogic.default"),
        ({"<": [{"var": "day"}, "2024-06-15"]}, "jsonlogic.date"),
    ],
)
def test_difference_is_reported(rule, code):
    assert code in [difference.code for difference in import_jsonlogic(rule, FEATURES).differences]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"some": [{"var": "list"}, {"<": [{"var": ""}, 3]}]}, "jsonlogic.operator"),
        ({"==": [{"var": "t"}, 5]}, "jsonlogic.coercion"),
        ({"<": [{"var": "t"}, "b"]}, "jsonlogic.text_order"),
        ({"==": [{"var": "a"}, 0]}, "jsonlogic.dialect"),
        ({"==": [1, "A"]}, "jsonlogic.dialect"),
        ({">": [{"+": [{"var": "a"}, 1]}, 5]}, "jsonlogic.null_arithmetic"),
        ({">": [{"/": [1, {"var": "n"}]}, 5]}, "jsonlogic.division"),
        ({"%": [{"var": "n"}, 2]}, "jsonlogic.operator"),
        ({"==": [1, 2, 3]}, "jsonlogic.arguments"),
        ({"and": True}, "jsonlogic.arguments"),
        ({"if": [{"var": "ok"}, 5, "b"]}, "jsonlogic.answer"),
        ({"+": [{"var": "n"}, 1]}, "jsonlogic.answer"),
        ({"and": [{"var": "n"}, {"var": "ok"}]}, "jsonlogic.answer"),
        ({"<": [{"var": "a.b"}, 5]}, "rule.unknown_feature"),
        ({"var": "at", "x": 1}, "jsonlogic.shape"),
        ({"==": [{"var": "at"}, "2024-01-01T00:00:00Z"]}, "jsonlogic.coercion"),
        (5, "jsonlogic.answer"),
        ([], "jsonlogic.answer"),
        ({}, "jsonlogic.shape"),
        ({"": 1}, "jsonlogic.operator"),
    ],
)
def test_what_cannot_be_equal_is_refused_with_its_path(rule, code):
    with pytest.raises(ProblemsError) as refused:
        import_jsonlogic(rule, FEATURES)
    assert refused.value.problems[0].code == code
    assert refused.value.problems[0].at.startswith("$")


def test_every_reason_of_a_rule_is_told_at_once():
    rule = {"if": [{"and": [{"%": [1, 2]}, {"cat": ["a"]}]}, "m", {"throw": 1}, 7, "n"]}
    with pytest.raises(ProblemsError) as refused:
        import_jsonlogic(rule, FEATURES)
    assert [problem.at for problem in refused.value.problems] == [
        "$.if[0].and[0].%",
        "$.if[0].and[1].cat",
        "$.if[2].throw",
        "$.if[3]",
    ]


def test_deep_rule_is_refused():
    rule = True
    for _ in range(5000):
        rule = {"!": [rule]}
    with pytest.raises(ProblemsError) as refused:
        import_jsonlogic(rule)
    assert refused.value.code == "rule.too_deep"
