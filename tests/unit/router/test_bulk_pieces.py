"""Small pieces of a bulk job: ids, batch size, pipeline, refusals, what stays out of evidence."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from interlock.commands.bulk_show import progress_line, time_line
from router.bulk.blocks import Bad, Block
from router.bulk.errors import BulkError
from router.bulk.ids import row_ids
from router.bulk.pipeline import flow
from router.bulk.run import Progress
from router.bulk.score import Scorer
from router.bulk.session import need_apart, need_keys
from router.bulk.tune import tuned_rows
from router.bulk.units import Unit


class TestIds:
    def test_they_are_uuids_of_version_7_that_follow_from_job_file_and_row(self):
        found = row_ids("ab", 1_700_000_000_000_000, 3, 10, 5)
        ids = [UUID(bytes=row.tobytes()) for row in found]
        assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
        assert {each.int >> 80 for each in ids} == {1_700_000_000_000}
        assert (found[2:] == row_ids("ab", 1_700_000_000_000_000, 3, 12, 3)).all()

    def test_no_two_rows_of_jobs_and_files_share_one(self):
        found = [
            row.tobytes()
            for job in ("a", "b")
            for file in (0, 1, 2)
            for row in row_ids(job, 1, file, 0, 1000)
        ]
        assert len(set(found)) == 6000


class TestBatchSize:
    @pytest.mark.parametrize(
        ("costs", "expected"),
        [
            ({2048: 1.0, 4096: 1.2, 8192: 2.4, 16384: 4.8, 32768: 9.6}, 4096),
            ({2048: 1.0, 4096: 2.5}, 2048),
            ({2048: 1.0, 4096: 1.9, 8192: 3.5, 16384: 6.5, 32768: 12.0}, 32768),
        ],
    )
    def test_it_is_doubled_while_that_pays(self, costs, expected):
        now = [0.0]

        def score(batch):
            now[0] += costs[batch.num_rows]

        sample = pa.record_batch({"x": np.zeros(40_000)})
        assert tuned_rows(score, sample, clock=lambda: now[0]) == expected

    def test_short_input_is_no_trouble(self):
        sample = pa.record_batch({"x": np.zeros(10)})
        assert tuned_rows(lambda _: None, sample) == 2048


class TestFlow:
    def test_results_come_in_order_and_a_bounded_number_is_in_flight(self):
        read, taken, most = [], [0], [0]

        def items():
            for number in range(200):
                read.append(number)
                most[0] = max(most[0], len(read) - taken[0])
                yield number

        found = []
        for result in flow(items(), lambda number: number * 2, workers=3):
            taken[0] += 1
            found.append(result)
        assert found == [number * 2 for number in range(200)]
        assert most[0] <= 12

    @pytest.mark.parametrize("where", ["read", "score"])
    def test_error_comes_in_its_place_and_no_thread_is_left(self, where):
        def items():
            for number in range(50):
                if where == "read" and number == 20:
                    raise ValueError("here")
                yield number

        def score(number):
            if where == "score" and number == 20:
                raise ValueError("here")
            return number

        before = threading.active_count()
        found = []
        with pytest.raises(ValueError, match="here"):
            found.extend(flow(items(), score, workers=2))
        assert found == list(range(20))
        assert threading.active_count() == before

    def test_caller_that_stops_early_ends_the_threads(self):
        before = threading.active_count()
        results = flow(iter(range(10**9)), lambda number: number, workers=2)
        assert next(results) == 0
        results.close()
        assert threading.active_count() == before


def test_key_columns_that_would_hide_an_answer_are_refused():
    need_keys(("case", "_id"))
    for keys in (("row",), ("case", "case")):
        with pytest.raises(BulkError):
            need_keys(keys)


def test_output_inside_the_input_is_refused(tmp_path):
    need_apart(str(tmp_path / "in"), str(tmp_path / "out"))
    with pytest.raises(BulkError, match="outside"):
        need_apart(str(tmp_path), str(tmp_path / "out"))


def test_protected_values_are_neither_in_columns_nor_in_bad_rows_of_the_evidence():
    def decide(batch, first_row, ids):
        rows = batch.num_rows
        numbers = np.arange(first_row, first_row + rows)
        errors = pa.nulls(rows, pa.string())
        result = {"row": numbers, "id": ["x"] * rows, "error": errors}
        raw = pa.array([each.tobytes() for each in ids], pa.binary(16))
        evidence = {"row": numbers, "id": raw, "rule": ["r"] * rows}
        evidence |= {"input.age": [9] * rows, "input.sum": [1] * rows}
        answers, kept = pa.record_batch(result), pa.table(evidence)
        return SimpleNamespace(result=answers, evidence=kept, errors=0, routes={"m": rows})

    bad = {1: Bad("features.type", "expected int", b'{"age":40,"sum":"x"}', None, "anna")}
    batch = pa.record_batch({"age": [9, 9], "sum": [1, 1]})
    job = SimpleNamespace(id="j", now_us=1)
    scorer = Scorer(decide, job, "ref-{}".format, frozenset({"age"}))
    found = scorer(Block(Unit(0, 0, 5, 3), True, 5, 3, batch, bad))
    assert found.result.column("row").to_pylist() == [5, 6, 7]
    assert found.result.column("error").to_pylist() == [None, "features.type: expected int", None]
    assert found.errors == 1
    kept = found.evidence.to_pylist()
    assert [row["row"] for row in kept] == [5, 6, 7]
    assert (kept[1]["features"], kept[1]["subject_ref"], kept[1]["status"]) == (
        b'{"sum":"x"}', "ref-anna", 422,
    )  # fmt: skip
    assert "input.age" not in found.evidence.column_names


def test_progress_says_share_speed_routes_and_time_left():
    done = Progress(rows=1000, routes={"a": 750, "": 250}, share=0.25, started=0.0)
    assert progress_line(done, 10.0) == (
        "[#####...............]  25%  1,000 rows  100/s  a 75%, reject 25%  0:30 left"
    )
    assert time_line(3725) == "1:02:05"
