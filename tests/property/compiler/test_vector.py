"""Vector code over chunks, open rows and coded columns gives the reference's answer."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.models.values import Coded
from compiler.rules import chunks
from compiler.rules.chunks import ColumnError
from compiler.rules.pipeline import compile_rules
from compiler.schema import Feature
from tests.strategies import NOW_US, PLAIN, range_tables, sound_rows, tables, wild_rows

SETTINGS = settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                           HealthCheck.function_scoped_fixture],
)  # fmt: skip
WORDS = {"string", "enum"}
ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32(),
         "timestamp": pa.timestamp("us", tz="UTC")}  # fmt: skip


def listed(rows, name):
    return [row.get(name) for row in rows]


def as_objects(rows):
    found = {}
    for name in PLAIN:
        found[name] = np.empty(len(rows), dtype=object)
        found[name][:] = listed(rows, name)
    return found


def as_arrow(rows, *, coded):
    """Arrow arrays where Arrow has the type, objects elsewhere."""
    found = dict(as_objects(rows))
    for name, feature in PLAIN.items():
        if feature.type in WORDS:
            array = pa.array(listed(rows, name), pa.string())
            found[name] = array.dictionary_encode() if coded else array
        elif feature.type in ARROW:
            found[name] = pa.array(listed(rows, name), ARROW[feature.type])
    return found


def as_codes(rows):
    found = dict(as_objects(rows))
    for name, feature in PLAIN.items():
        if feature.type in WORDS:
            values = listed(rows, name)
            words = tuple(sorted({v for v in values if v is not None}, reverse=True))
            places = {word: place for place, word in enumerate(words)} | {None: -1}
            found[name] = Coded(np.array([places[v] for v in values], np.intp), words)
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and segments so small that every row and every entry meets a border."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3)
    monkeypatch.setattr(chunks, "SEGMENT", 2)


@SETTINGS
@given(tables() | range_tables(), st.lists(sound_rows() | wild_rows(), max_size=14))
def test_borders_of_chunks_and_segments_change_nothing(small, table, rows):
    rules = compile_rules(table, features=PLAIN)
    expected = [rules.reference(row, NOW_US)[0] for row in rows]
    assert rules.numpy(as_objects(rows), len(rows), NOW_US).tolist() == expected


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@SETTINGS
@given(table=range_tables(), rows=st.lists(sound_rows(), min_size=1, max_size=14))
def test_leaving_out_decided_rows_changes_nothing(share, table, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "SEGMENT", 2)
        patch.setattr(chunks, "SHRINK", share)
        rules = compile_rules(table, features=PLAIN)
        expected = [rules.reference(row, NOW_US)[0] for row in rows]
        assert rules.numpy(as_objects(rows), len(rows), NOW_US).tolist() == expected


@SETTINGS
@given(tables(), st.lists(sound_rows(), max_size=8))
def test_every_form_of_a_column_means_the_same(table, rows):
    rules = compile_rules(table, features=PLAIN)
    expected = [rules.reference(row, NOW_US)[0] for row in rows]
    for columns in (as_arrow(rows, coded=False), as_arrow(rows, coded=True), as_codes(rows)):
        assert rules.numpy(columns, len(rows), NOW_US).tolist() == expected


def test_codes_are_read_by_their_words_not_by_their_numbers():
    features = {"city": Feature("string"), "n": Feature("int")}
    rules = compile_rules("IF city = 'b' THEN x ELSE IF n = 1 THEN y ELSE z", features=features)
    codes = Coded(np.array([0, 1, 2, 3, -1]), ("b", "a", "b", None))
    chunked = pa.chunked_array([["b", "a"], ["b", None, None]])
    numbers = pa.array([5, 5, 5, 1, None]).dictionary_encode()
    for cities in (codes, chunked):
        columns = {"city": cities, "n": numbers}
        assert rules.numpy(columns, 5).tolist() == [0, 2, 0, 1, 2]


def test_words_under_a_number_are_missing():
    rules = compile_rules("IF n = 1 THEN x ELSE IF n IS NULL THEN y ELSE z", features={
        "n": Feature("int", nullable=True)})  # fmt: skip
    assert rules.numpy({"n": pa.array(["1", None])}, 2).tolist() == [1, 1]
    assert rules.numpy({"n": pa.array([1, None])}, 2).tolist() == [0, 1]


def test_large_numbers_beside_nulls_stay_exact():
    rules = compile_rules(f"IF n = {2**53 + 1} THEN x ELSE y", features={
        "n": Feature("int", nullable=True)})  # fmt: skip
    assert rules.numpy({"n": pa.array([2**53 + 1, None, 2**53])}, 3).tolist() == [0, 1, 1]


def test_times_of_arrow_are_compared_as_times():
    rules = compile_rules(
        "IF at < '2024-06-15T12:00:00Z' THEN x ELSE y", features={"at": Feature("timestamp")}
    )
    noon = dt.datetime(2024, 6, 15, 12, tzinfo=dt.UTC)
    times = pa.array([noon - dt.timedelta(microseconds=1), noon], pa.timestamp("us", tz="UTC"))
    assert rules.numpy({"at": times}, 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    "column", [np.arange(3), np.zeros((4, 1)), pa.array([1, 2, 3]), Coded(np.zeros(3, int), ("a",))]
)
def test_column_of_another_length_is_named(column):
    rules = compile_rules("IF n > 1 THEN x ELSE y", features={"n": Feature("float")})
    with pytest.raises(ColumnError, match="expected 4 values in one dimension") as error:
        rules.numpy({"n": column}, 4)
    assert error.value.at == "n"
    assert "one value per row" in error.value.hint


def test_no_rows_give_no_leaves():
    rules = compile_rules("IF n > 1 THEN x ELSE y", features={"n": Feature("float")})
    assert rules.numpy({}, 0).tolist() == []
    assert rules.numpy({}, 3).tolist() == [1, 1, 1]
