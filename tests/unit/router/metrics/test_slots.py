"""Counters in shared memory: summed over workers, kept over deaths."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.metrics.slots import Counters, series, sum_files
from router.metrics.text import render


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    found = Counters(tmp_path, 0)
    yield found
    found.close()


def test_workers_are_summed(tmp_path: Path, counters: Counters) -> None:
    other = Counters(tmp_path, 1)
    counters.add("a_total", 3)
    other.add("a_total", 4)
    other.add("b_total")
    other.set("level", 5)
    counters.set("level", 2)
    assert sum_files(tmp_path)["a_total"] == 7
    assert sum_files(tmp_path)["level"] == 7
    other.close()
    assert sum_files(tmp_path)["a_total"] == 7
    assert sum_files(tmp_path)["level"] == 2


def test_successor_takes_over_counts_but_not_levels(tmp_path: Path) -> None:
    first = Counters(tmp_path, 3)
    first.add("a_total", 3)
    first.set("level", 9)
    first.close()
    first.path.rename(tmp_path / "3-1.counters")
    second = Counters(tmp_path, 3)
    assert sum_files(tmp_path)["a_total"] == 3
    assert "level" not in sum_files(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [second.path.name]
    second.close()


def test_full_file_counts_what_it_drops(tmp_path: Path, counters: Counters) -> None:
    for number in range(9000):
        counters.add(series("many_total", number=number))
    block = counters.block([series("late_bucket", le=n) for n in range(5)])
    counters.values[block + 4] += 1
    found = sum_files(tmp_path)
    assert found["interlock_metric_series_dropped_total"] > 800
    assert sum(name.startswith("many_total") for name in found) > 8000
    assert not any(name.startswith("late") for name in found)


def test_histogram_is_cumulated_in_seconds(tmp_path: Path, counters: Counters) -> None:
    name = "interlock_request_duration_seconds"
    labels = {"endpoint": 'a"b\n', "release": 1}
    first = counters.block([series(name + "_bucket", **labels, le=le) for le in ("0.1", "+Inf")])
    counters.values[first] = 2
    counters.values[first + 1] = 1
    counters.add(series(name + "_sum", **labels), 1_500_000)
    lines = render(tmp_path).decode().splitlines()
    escaped = 'endpoint="a\\"b\\n",release="1"'
    assert f'{name}_bucket{{{escaped},le="0.1"}} 2' in lines
    assert f'{name}_bucket{{{escaped},le="+Inf"}} 3' in lines
    assert f"{name}_sum{{{escaped}}} 1.5" in lines
    assert f"{name}_count{{{escaped}}} 3" in lines
