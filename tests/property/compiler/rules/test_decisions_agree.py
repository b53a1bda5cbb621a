"""Decision tables: every evaluator gives the reference's answer, for any answer of a model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules.explanation import explain
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader
from tests.decision_strategies import OUTPUTS, answers, decision_tables
from tests.strategies import NOW_US, PLAIN, sound_rows, wild_rows

SETTINGS = settings(
    max_examples=10, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
ENGINES = ("chain", "index")


def _bound(row):
    f = SimpleNamespace(**{n: v for n, v in row.items() if "." not in n})
    c = SimpleNamespace(**{n.partition(".")[2]: v for n, v in row.items() if "." in n})
    return f, c


def _columns(rules, rows):
    columns = {}
    for name in rules.scope:
        column = np.empty(len(rows), dtype=object)
        column[:] = [row.get(name) for row in rows]
        columns[name] = column
    return columns


def _compiled(task, data, most=4):
    table = data.draw(decision_tables(task, most=most))
    return compile_rules(table, features=PLAIN, output=OUTPUTS[task], kind="decision")


@pytest.mark.parametrize("task", OUTPUTS)
@SETTINGS
@given(st.data())
def test_struct_numpy_and_explanation_equal_reference_on_rows_of_the_schema(task, data):
    rules = _compiled(task, data)
    asked = data.draw(st.lists(st.tuples(sound_rows(), answers(task)), min_size=1, max_size=5))
    flat = [rules.row_of(row, None, out) for row, out in asked]
    wanted = [rules.reference(row, NOW_US) for row in flat]
    for (row, out), whole, (index, unknown) in zip(asked, flat, wanted, strict=True):
        f, c = _bound(row)
        for engine in ENGINES:
            assert rules.scalar("struct", engine=engine)(f, c, NOW_US, out) == index, engine
            assert rules.scalar("dict", engine=engine)(row, None, NOW_US, out) == index, engine
        assert rules.unknowns(f, c, NOW_US, out) == unknown
        reader = Reader(rules.scope, whole, NOW_US)
        assert rules.explain(whole, NOW_US) == explain(rules.flat, rules.on_unknown, reader)
    found = rules.numpy(_columns(rules, flat), len(flat), NOW_US)
    assert found.tolist() == [index for index, _ in wanted]


@pytest.mark.parametrize("task", OUTPUTS)
@SETTINGS
@given(st.data())
def test_dict_and_numpy_equal_reference_whatever_the_request_holds(task, data):
    rules = _compiled(task, data)
    asked = data.draw(st.lists(st.tuples(wild_rows(), answers(task)), min_size=1, max_size=5))
    flat = [rules.row_of(row, None, out) for row, out in asked]
    wanted = [rules.reference(row, NOW_US)[0] for row in flat]
    for (row, out), index in zip(asked, wanted, strict=True):
        for engine in ENGINES:
            assert rules.scalar("dict", engine=engine)(row, None, NOW_US, out) == index, engine
    assert rules.numpy(_columns(rules, flat), len(flat), NOW_US).tolist() == wanted


@pytest.mark.parametrize("task", OUTPUTS)
@settings(SETTINGS, max_examples=3)
@given(st.data())
def test_long_decision_tables_equal_reference_too(task, data):
    rules = _compiled(task, data, most=24)
    asked = data.draw(st.lists(st.tuples(sound_rows(), answers(task)), min_size=1, max_size=5))
    for row, out in asked:
        index = rules.reference(rules.row_of(row, None, out), NOW_US)[0]
        f, c = _bound(row)
        for engine in ENGINES:
            assert rules.scalar("struct", engine=engine)(f, c, NOW_US, out) == index, engine
