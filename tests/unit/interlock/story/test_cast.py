"""The story's own tables say what the story expects of them."""

import shlex
from itertools import pairwise

import msgspec
import pytest

from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature, FeatureMap, OutputSchema
from interlock.story import cast
from interlock.story.play import curl


@pytest.fixture(scope="module")
def records():
    return cast.records()


@pytest.fixture(scope="module")
def features(records) -> FeatureMap:
    found: FeatureMap = {}
    for name, value in records[0].items():
        words = tuple(sorted({row[name] for row in records})) if isinstance(value, str) else ()
        found[name] = Feature(type="enum", values=words) if words else Feature(type="int")
    return found


def test_rule_table_routes_every_row_as_plain_python_does(records, features):
    rules = compile_rules(cast.RULES, features=features)
    route = rules.scalar("dict")
    got = [rules.ids[route(row, {}, 0)] for row in records]
    assert got == [cast.expected_rule(row) for row in records]
    assert set(got) == set(cast.ROUTES)


def test_rule_table_has_no_finding_at_level_error(features):
    findings = compile_rules(cast.RULES, features=features).analyse()
    assert [finding for finding in findings if finding.level == "error"] == []


@pytest.mark.parametrize(
    ("bad", "decision"),
    [(0.0, "approve"), (0.29, "approve"), (0.3, "refer"), (0.5, "decline"), (1.0, "decline")],
)
def test_decision_table_turns_a_probability_into_a_decision(bad, decision, features):
    output = OutputSchema("classification", ("bad", "good"))
    table = compile_rules(cast.DECISIONS, features=features, output=output, kind="decision")
    label = "bad" if bad > 0.5 else "good"
    row: dict[str, object] = {}
    index = table.scalar("dict")(row, {}, 0, (label, (bad, 1 - bad)))
    assert table.consequents[index].decision == decision


def test_applicants_take_every_route_and_change_it_each_time():
    routes = [applicant.rule for applicant in cast.applicants()]
    assert set(routes) == set(cast.ROUTES)
    assert all(before != after for before, after in pairwise(routes))


def test_no_request_carries_a_protected_column_or_the_answer(records):
    assert not {*cast.PROTECTED, cast.TARGET} & set(records[0])
    assert len(records) == 1000


def test_curl_line_survives_a_shell():
    words = shlex.split(curl("http://127.0.0.1:8080", "ilk_abc"))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8080/v1/predict"]
    assert "Authorization: Bearer ilk_abc" in words
    assert "\n" not in curl("http://127.0.0.1:8080", "ilk_abc")
    assert msgspec.json.decode(words[-1])["features"]["credit_amount"] > 0
