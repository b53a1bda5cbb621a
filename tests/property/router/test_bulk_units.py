"""Units cover exactly the rows that a plain reader finds, whatever the bytes look like."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from router.bulk import units
from router.bulk.units import plan_units

CHECKS = settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
CELLS = st.text("ab,\"\n\r '", max_size=6)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=12)


@pytest.fixture(autouse=True, params=[3, 7, 1 << 20])
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(units, "SCAN_BYTES", request.param)


def slices(path: Path, found: tuple[units.Unit, ...]) -> list[bytes]:
    data = path.read_bytes()
    return [data[each.offset : each.offset + each.size] for each in found]


@CHECKS
@given(
    lines=st.lists(st.sampled_from(["", '{"a":1}', "x", '"'])),
    end=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
    unit_rows=st.integers(1, 5),
)
def test_lines_of_ndjson_are_cut_into_units_without_loss(tmp_path, lines, end, closed, unit_rows):
    path = tmp_path / "rows.ndjson"
    path.write_bytes((end.join(lines) + (end if closed else "")).encode())
    expected = [line for line in lines if line]
    found = plan_units(path, "ndjson", 0, unit_rows)
    assert sum(each.rows for each in found) == len(expected)
    assert [each.first_row for each in found] == [n * unit_rows for n in range(len(found))]
    read = [[line for line in part.decode().split() if line] for part in slices(path, found)]
    assert [len(part) for part in read] == [each.rows for each in found]
    assert [line for part in read for line in part] == expected


@CHECKS
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]), unit_rows=st.integers(1, 4))
def test_rows_of_csv_with_quoted_newlines_are_cut_into_units_without_loss(
    tmp_path, rows, end, unit_rows
):
    path = tmp_path / "rows.csv"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["first", "second"], *rows])
    path.write_bytes(text.getvalue().encode())
    found = plan_units(path, "csv", 0, unit_rows)
    assert sum(each.rows for each in found) == len(rows)
    again: list[list[str]] = []
    for unit, part in zip(found, slices(path, found), strict=True):
        read = list(csv.reader(io.StringIO(part.decode(), newline="")))
        assert len(read) == unit.rows
        again += read
    assert again == rows
