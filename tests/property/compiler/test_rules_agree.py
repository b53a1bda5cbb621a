"""Every evaluator gives the reference's answer, for any table and any row."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules import domain
from compiler.rules.explanation import explain
from compiler.rules.pipeline import compile_rules
from compiler.rules.reference import Reader
from tests.strategies import NOW_US, PLAIN, edge_rows, range_tables, sound_rows, tables, wild_rows

SETTINGS = settings(
    max_examples=50, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking whole tables takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


ENGINES = ("chain", "index")


def _bound(row):
    f = SimpleNamespace(**{n: v for n, v in row.items() if "." not in n})
    c = SimpleNamespace(**{n.partition(".")[2]: v for n, v in row.items() if "." in n})
    return f, c


def _explained(rules, row):
    return explain(rules.flat, rules.on_unknown, Reader(rules.scope, row, NOW_US))


def _sound(row):
    """Whether a struct could hold the row: nothing missing or wrong that the schema refuses."""
    return all(
        domain.read_lenient(feature, row.get(name)) is not None
        or (feature.nullable and row.get(name) is None)
        for name, feature in PLAIN.items()
    ) and all(type(row[name]) is type(domain.read(PLAIN[name], row[name]))
              for name in row if row[name] is not None)  # fmt: skip


def _columns(rows):
    columns = {}
    for name in PLAIN:
        column = np.empty(len(rows), dtype=object)
        for place, row in enumerate(rows):
            column[place] = row.get(name)
        columns[name] = column
    return columns


@SETTINGS
@given(tables(), st.lists(sound_rows(), min_size=1, max_size=6))
def test_struct_binding_equals_reference_on_rows_of_the_schema(table, rows):
    rules = compile_rules(table, features=PLAIN)
    for row in rows:
        f, c = _bound(row)
        index, unknown = rules.reference(row, NOW_US)
        for engine in ENGINES:
            assert rules.scalar("struct", engine=engine)(f, c, NOW_US) == index, engine
        assert rules.unknowns(f, c, NOW_US) == unknown
        assert rules.explain(row, NOW_US) == _explained(rules, row)
        if unknown:
            assert rules.may_be_unknown


@SETTINGS
@given(tables(), st.lists(sound_rows() | wild_rows(), min_size=1, max_size=6))
def test_dict_binding_equals_reference_whatever_the_values(table, rows):
    rules = compile_rules(table, features=PLAIN)
    for row in rows:
        index = rules.reference(row, NOW_US)[0]
        for engine in ENGINES:
            assert rules.scalar("dict", engine=engine)(row, None, NOW_US) == index, engine
        assert rules.explain(row, NOW_US) == _explained(rules, row)


@settings(SETTINGS, max_examples=25)
@given(range_tables(), st.lists(sound_rows() | wild_rows(), min_size=1, max_size=8))
def test_every_engine_equals_reference_on_tables_of_ranges(table, rows):
    rules = compile_rules(table, features=PLAIN)
    rows = rows + edge_rows(table)
    for row in rows:
        index = rules.reference(row, NOW_US)[0]
        f, c = _bound({name: row.get(name) for name in PLAIN})
        for engine in ENGINES:
            assert rules.scalar("dict", engine=engine)(row, None, NOW_US) == index, engine
        if _sound(row):
            for engine in ENGINES:
                assert rules.scalar("struct", engine=engine)(f, c, NOW_US) == index, engine
    assert rules.numpy(_columns(rows), len(rows), NOW_US).tolist() == [
        rules.reference(row, NOW_US)[0] for row in rows
    ]


@SETTINGS
@given(tables(), st.lists(sound_rows() | wild_rows(), max_size=6))
def test_numpy_equals_reference_whatever_the_values(table, rows):
    rules = compile_rules(table, features=PLAIN)
    found = rules.numpy(_columns(rows), len(rows), NOW_US)
    assert found.tolist() == [rules.reference(row, NOW_US)[0] for row in rows]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint64", "bool"])
@settings(SETTINGS, max_examples=12)
@given(tables(), st.data())
def test_numpy_equals_reference_on_typed_arrays(dtype, table, data):
    rules = compile_rules(table, features=PLAIN)
    pool = {
        "float64": [0.45, 0.1, 4.5, 5.0, np.nan, np.inf, -1.5, 2.0**53, 1e300],
        "float32": [0.45, 0.1, 4.5, 5.0, np.nan, np.inf, -1.5],
        "int64": [-(2**63), -1, 0, 5, 45, 2**53 + 1, 2**63 - 1],
        "int32": [-1, 0, 5, 45],
        "uint64": [0, 5, 45, 2**63, 2**64 - 1],
        "bool": [True, False],
    }[dtype]
    values = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8))
    array = np.array(values, dtype=dtype)
    columns = dict.fromkeys(PLAIN, array)
    found = rules.numpy(columns, len(array), NOW_US)
    rows = [dict.fromkeys(PLAIN, value) for value in array]
    assert found.tolist() == [rules.reference(row, NOW_US)[0] for row in rows]
