"""Conditions exported to CEL are read back to a table that decides alike, or are refused."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.errors import ProblemsError
from compiler.rules.export.cel import NoCelError, cel_text
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader, truth
from tests.strategies import NOW_US, PLAIN, conditions, sound_rows, wild_rows

SETTINGS = settings(
    max_examples=400, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
DEFAULT = {"type": "reject"}
MODEL = {"type": "model", "model": "m"}


def _table(antecedent):
    return {
        "conditions": [{"antecedent": antecedent, "consequent": MODEL}],
        "defaultConsequent": DEFAULT,
    }


@SETTINGS
@given(conditions(3), st.lists(sound_rows() | wild_rows(), min_size=1, max_size=8))
def test_what_is_written_in_cel_has_the_truth_of_the_rule(data, rows):
    rules = compile_rules(_table(data), features=PLAIN)
    before = rules.table.rules[0].condition
    try:
        text = cel_text(before, rules.scope)
        after = compile_rules(_table({"cel": text}), features=PLAIN).table.rules[0].condition
    except (NoCelError, ProblemsError):
        return
    for row in rows:
        reader = Reader(PLAIN, row, NOW_US)
        assert truth(after, reader) == truth(before, reader), text
