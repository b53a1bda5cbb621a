import numpy as np

from loadtest.record import GOOD, TIMEOUT, Records
from loadtest.report import write_hlog

START = 10**12


def records_of(latency_us):
    n = len(latency_us)
    due = START + np.arange(n, dtype=np.int64) * 10_000_000  # a hundred per second
    last = due + np.asarray(latency_us, dtype=np.int64) * 1000
    outcome = np.full(n, GOOD, np.uint8)
    outcome[-1] = TIMEOUT
    return Records(due, due, due, last, last, np.zeros(n, np.uint32), np.full(n, 200, np.uint16),
                   outcome)  # fmt: skip


def test_log_is_read_back_by_hdrhistogram_second_by_second(tmp_path):
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    latency = np.arange(1, 251) * 40
    write_hlog(records_of(latency), START, tmp_path / "latency.hlog")
    reader = HistogramLogReader(str(tmp_path / "latency.hlog"), HdrHistogram(1, 3_600_000_000, 3))
    read = []
    while (one := reader.get_next_interval_histogram()) is not None:
        read.append(one)
    reader.close()
    assert [one.get_total_count() for one in read] == [100, 100, 50]
    assert abs(read[0].get_max_value() - 4000) <= 4
    assert abs(read[2].get_value_at_percentile(50) - 9000) <= 50


def test_run_without_answers_gives_an_empty_log(tmp_path):
    write_hlog(records_of([5]).take(np.arange(0)), START, tmp_path / "latency.hlog")
    assert "HistogramLog" not in (tmp_path / "latency.hlog").read_text().splitlines()[-1]
