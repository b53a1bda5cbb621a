"""What analysis says is true: examples show it, and no request contradicts it."""

from hypothesis import HealthCheck, Phase, given, settings

from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader, truth
from tests import strategies

DOUBTS = ("not proven", "not ruled out", "not all are proven")


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    strategies.tables() | strategies.range_tables(),
    strategies.sound_rows(),
    strategies.sound_rows(),
)
def test_no_request_contradicts_a_finding_and_every_example_shows_it(table, one, two):
    rules = compile_rules(table, features=strategies.PLAIN)
    steps = {step.path: step for step in rules.steps()}
    now = strategies.NOW_US
    for finding in rules.analyse(now_us=now):
        assert finding.code != "engines.disagree", finding
        if not finding.proven:
            assert any(words in finding.message for words in DOUBTS), finding
            continue
        if finding.code == "missing-hole" and finding.example is not None:
            assert finding.rules[0] in rules.reference(finding.example, now)[1]
        if finding.code == "near-gap" and finding.example is not None:
            assert rules.reference(finding.example, now)[0] in rules.flat.defaults()
        if finding.code == "overlap":
            row = Reader(rules.scope, finding.example, now)
            assert [truth(steps[path].rule.condition, row) for path in finding.rules] == [True] * 2
        if finding.code == "gap":
            index, _ = rules.reference(finding.example, now)
            assert index == rules.flat.cascade.default
        for sample in (one, two):
            index, _ = rules.reference(sample, now)
            reader = Reader(rules.scope, sample, now)
            if finding.code == "unreachable":
                assert index != steps[finding.rules[0]].index
            elif finding.code == "contradiction":
                assert truth(steps[finding.rules[0]].rule.condition, reader) is not True
            elif finding.code == "tautology":
                assert truth(steps[finding.rules[0]].rule.condition, reader) is True
            elif finding.code == "covered":
                assert index != rules.flat.cascade.default
