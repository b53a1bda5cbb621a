"""Google's public CEL cases: what passes, what is refused and why; nothing is answered wrongly."""

import pytest

from tests.conformance import cel
from tests.conformance.__main__ import FORMATS, README, block


@pytest.fixture(scope="module")
def outcomes():
    cases = cel.read_cases()
    if cases is None:
        pytest.skip(f"no CEL cases at {cel.CASES}; see tests/data/README.md for their source")
    assert len(cases) == 1286
    return cel.run(cases)


def test_no_case_is_answered_wrongly(outcomes):
    assert [(o.case["expr"], o.reason) for o in outcomes if o.state == "wrong"] == []


def test_logic_cases_all_pass_and_more_than_enough_others(outcomes):
    booleans = [outcome for outcome in outcomes if outcome.group == "bool"]
    logic = [outcome.state for outcome in booleans if outcome.case["file"] == "logic"]
    assert logic == ["pass"] * 18
    assert len(booleans) == 604
    assert sum(outcome.state == "pass" for outcome in booleans) >= 500


def test_whatever_does_not_pass_has_its_reason(outcomes):
    assert all(outcome.reason for outcome in outcomes if outcome.state != "pass")


def test_published_table_and_list_are_what_the_run_gives(outcomes):
    assert block(FORMATS.read_text(), "cel") == cel.passes(outcomes) + "\n"
    totals = block(README.read_text(), "conformance").splitlines()
    assert set(cel.total_lines(outcomes)) <= set(totals)
    assert cel.OUTCOMES.read_text() == cel.outcome_lines(outcomes)
