"""Queries and rules engines of react-querybuilder become tables, or are refused with reasons."""

import pytest

from compiler.errors import ProblemsError
from compiler.rules.importers.querybuilder import import_querybuilder
from compiler.rules.pipeline import compile_rules
from compiler.rules.print_text import print_condition
from compiler.schema import Feature

FEATURES = {
    "age": Feature(type="int", nullable=True),
    "income": Feature(type="float"),
    "limit": Feature(type="float"),
    "name": Feature(type="string"),
    "member": Feature(type="bool"),
}


def rule(field="age", operator="=", value=5, **more):
    return {"field": field, "operator": operator, "value": value, **more}


def group(*rules, combinator="and", **more):
    return {"combinator": combinator, "rules": list(rules), **more}


def imported(query):
    found = import_querybuilder(query, FEATURES)
    condition = compile_rules(found.document).table.rules[0].condition
    return print_condition(condition), [difference.code for difference in found.differences]


@pytest.mark.parametrize(
    ("query", "becomes", "differences"),
    [
        (group(rule(), rule("income", ">", 2.5)), "age = 5 AND income > 2.5", []),
        (group(rule(value="15")), "age = 15", ["querybuilder.text_value"]),
        (group(rule(operator="in", value="1, 2,,3")), "age IN (1, 2, 3)",
         ["querybuilder.comma_list", *["querybuilder.text_value"] * 3]),
        (group(rule("income", "between", [9, 1])), "income BETWEEN 1.0 AND 9.0",
         ["querybuilder.bounds"]),
        (group(rule("member", "=", "true")), "member = TRUE", ["querybuilder.text_value"]),
        (group(rule("income", ">", "limit", valueSource="field")), "income > limit", []),
        (group(rule("income", "between", "limit,limit", valueSource="field")),
         "income >= limit AND income <= limit", ["querybuilder.comma_list"]),
        (group(rule("name", "beginsWith", "a")), "name BEGINS WITH 'a'", ["querybuilder.case"]),
        (group(rule(operator="notNull", value=None)), "age IS NOT NULL", []),
        (group(rule(operator="!=", value=3)), "age != 3", ["querybuilder.missing"]),
        (group(rule("income", "<", 1), **{"not": True}), "NOT (income < 1.0)", []),
        (group(rule("income"), rule("limit"), combinator="XOR"), "income = 5.0 XOR limit = 5.0",
         []),
        (group(rule(), rule("income", muted=True)), "age = 5", ["querybuilder.muted"]),
        (group(rule(disabled=True)), "age = 5", ["querybuilder.disabled"]),
        (group(rule(colour="red")), "age = 5", ["querybuilder.key"]),
        ({"rules": [rule(), "or", rule("income"), "and", rule("limit")]},
         "age = 5 OR (income = 5.0 AND limit = 5.0)", ["querybuilder.precedence"]),
    ],
)  # fmt: skip
def test_query_becomes_a_condition_and_what_differs_is_told(query, becomes, differences):
    assert imported(query) == (becomes, differences)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (group(), "querybuilder.empty"),
        (group(rule(muted=True)), "querybuilder.empty"),
        (group(rule(operator="~")), "querybuilder.placeholder"),
        (group(rule(value="~")), "querybuilder.placeholder"),
        (group(rule(operator="like")), "querybuilder.operator"),
        (group(rule(field="aeg")), "rule.unknown_feature"),
        (group(rule(value="ten")), "querybuilder.value"),
        (group(rule(value=None)), "querybuilder.value"),
        (group(rule(operator="between", value=[1])), "querybuilder.value"),
        (group(rule(valueSource="parameter", value="p")), "querybuilder.unsupported"),
        (group({**rule(), "match": {"mode": "all"}}), "querybuilder.unsupported"),
        (group(rule(), combinator="nor"), "querybuilder.combinator"),
        ({"rules": [rule(), rule()]}, "querybuilder.combinator"),
        ({"rules": [rule(), "and", rule(muted=True)]}, "querybuilder.muted"),
        ([], "querybuilder.shape"),
        ({"conditions": [], "evaluationMode": "cumulative"}, "querybuilder.mode"),
        ({"conditions": [{"consequent": {"type": "a"}}]}, "querybuilder.shape"),
        ({"conditions": [{"antecedent": group(rule()), "consequent": {"type": "log", "to": "x"}}]},
         "querybuilder.consequent"),
        ({"conditions": [{"antecedent": group(rule()), "consequent": {"type": "a"},
                          "conditions": [{"antecedent": group(rule()),
                                          "consequent": {"type": "b"}}]}]},
         "querybuilder.both"),
    ],
)  # fmt: skip
def test_what_would_be_dropped_or_guessed_is_refused(query, code):
    with pytest.raises(ProblemsError) as refused:
        import_querybuilder(query, FEATURES)
    assert refused.value.problems[0].code == code
    assert refused.value.problems[0].at.startswith("$")


def test_engine_becomes_a_cascade_with_nested_conditions():
    engine = {
        "conditions": [
            {
                "id": "young",
                "antecedent": group(rule(operator="<", value=25)),
                "conditions": [
                    {"antecedent": group(rule("member", "=", True)),
                     "consequent": {"type": "model", "model": "club"}}
                ],
                "defaultConsequent": {"type": "reject", "reason": "young"},
            },
            {"antecedent": group(rule("income", ">", 9)), "consequent": {"type": "rich_model"}},
        ],
        "defaultConsequent": {"type": "model", "model": "standard"},
    }  # fmt: skip
    found = import_querybuilder(engine, FEATURES)
    rules = compile_rules(found.document)
    for row, model in [
        ({"age": 20, "income": 1.0, "member": True}, "club"),
        ({"age": 20, "income": 99.0, "member": False}, None),
        ({"age": 30, "income": 99.0, "member": False}, "rich_model"),
        ({"age": None, "income": 1.0, "member": False}, "standard"),
    ]:
        assert getattr(rules.consequents[rules.reference(row)[0]], "model", None) == model
    assert [difference.code for difference in found.differences] == ["querybuilder.consequent"]


def test_every_reason_of_a_query_is_told_at_once():
    query = group(rule(operator="like"), group(rule(field="x"), rule(value="~")))
    with pytest.raises(ProblemsError) as refused:
        import_querybuilder(query, FEATURES)
    assert [problem.at for problem in refused.value.problems] == [
        "$.rules[0].operator", "$.rules[1].rules[0].field", "$.rules[1].rules[1].value"
    ]  # fmt: skip


def test_deep_query_is_refused():
    query = group(rule())
    for _ in range(300):
        query = group(query)
    with pytest.raises(ProblemsError) as refused:
        import_querybuilder(query, FEATURES)
    assert refused.value.code == "rule.too_deep"
