"""JsonLogic's public suites through the importer: equal answer or a refusal, never silence."""

import pytest

from tests.conformance import jsonlogic
from tests.conformance.__main__ import FORMATS, README, block


@pytest.fixture(scope="module")
def outcomes():
    cases = jsonlogic.read_cases(jsonlogic.OWN)
    if cases is None:
        pytest.skip(f"no suites at {jsonlogic.OWN}; see tests/data/README.md for their source")
    return jsonlogic.run(cases)


def test_no_answer_differs_silently(outcomes):
    assert [(o.case["rule"], o.reason) for o in outcomes if o.state == "wrong"] == []


def test_comparisons_and_chains_are_imported_and_equal(outcomes):
    equal = [outcome for outcome in outcomes if outcome.state == "equal"]
    assert len(equal) >= 356
    assert {"comparison/lessThan.json", "control/if.json"} <= {outcome.file for outcome in equal}


def test_published_table_and_list_are_what_the_run_gives(outcomes):
    assert block(FORMATS.read_text(), "jsonlogic") == jsonlogic.passes(outcomes) + "\n"
    totals = block(README.read_text(), "conformance").splitlines()
    assert set(jsonlogic.total_lines(outcomes)) <= set(totals)
    assert jsonlogic.OUTCOMES.read_text() == jsonlogic.outcome_lines(outcomes)
