"""The figures of data, training and validation, at a hundredth of their size."""

from __future__ import annotations

from pathlib import Path

import pyarrow.csv as arrow_csv
import pytest

from interlock import benchdata
from loadtest.bench import control_data
from loadtest.errors import LoadTestError

CREDIT = Path(__file__).parents[3] / "interlock/data/german_credit.csv"


def test_search_and_validation_are_those_of_the_product(tmp_path, monkeypatch):
    monkeypatch.setattr(benchdata, "BUDGET_S", 1.0)
    monkeypatch.setattr(benchdata, "CHUNK", 2000)
    monkeypatch.setattr(benchdata, "ROWS", 6000)
    found = benchdata.automl(CREDIT)
    assert 0.7 < found["auc"] < 0.9
    assert found["trials"] >= 1
    judged = benchdata.validation(tmp_path)
    assert judged["rows"] == 6000
    steps = ("scoring", "predictions", "fairness", "drift", "explanations", "page")
    assert judged["seconds"] == pytest.approx(sum(judged[name] for name in steps), abs=0.1)


def test_csv_is_written_up_to_its_size_with_one_header(tmp_path, monkeypatch):
    monkeypatch.setattr(benchdata, "CHUNK", 500)
    path = tmp_path / "rows.csv"
    rows = benchdata.write_csv(path, megabytes=1)
    assert 1_000_000 <= path.stat().st_size < 1_200_000
    assert arrow_csv.read_csv(path).num_rows == rows


def test_process_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(LoadTestError, match=r"nowhere\.csv"):
        list(control_data.measure_data(("automl",), tmp_path, Path("nowhere.csv"), lambda _: None))
