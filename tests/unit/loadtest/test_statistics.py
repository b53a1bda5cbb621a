import numpy as np
import pytest

from loadtest import record
from loadtest.statistics import measure, nearest_rank, windows

MS = 1_000_000


def records_of(*rows):
    """Rows of (due, picked, sent, last, outcome) in milliseconds; 0 means it did not happen."""
    table = np.array([[t * MS for t in row[:4]] for row in rows], dtype=np.int64).reshape(-1, 4)
    outcome = np.array([row[4] for row in rows], dtype=np.uint8)
    answered = np.isin(outcome, (record.GOOD, record.SERVER))
    status = np.where(answered, 200, 0).astype(np.uint16)
    due, picked, sent, last = table.T.copy()
    return record.Records(
        due, picked, sent, last.copy(), last, np.zeros(len(rows), np.uint32), status, outcome
    )


def test_corrected_latency_starts_at_the_schedule_and_uncorrected_at_sending():
    figures = measure(records_of((10, 10, 40, 45, record.GOOD)), 1.0)
    p50 = figures.percentiles[0]
    assert (p50.corrected, p50.uncorrected) == (35_000, 5_000)


def test_timeouts_are_charged_with_the_time_waited():
    figures = measure(records_of((10, 10, 10, 510, record.TIMEOUT)), 1.0)
    assert figures.max_us == 500_000
    assert figures.error_share == 1.0


@pytest.mark.parametrize("outcome", [record.CONNECT, record.RESET, record.PROTOCOL])
def test_broken_connections_are_errors_without_a_latency(outcome):
    figures = measure(records_of((10, 10, 10, 11, record.GOOD), (20, 20, 20, 21, outcome)), 1.0)
    assert figures.samples == 1
    assert figures.error_share == 0.5
    assert figures.outcomes == {"good": 1, record.OUTCOMES[outcome]: 1}


def test_clients_that_walk_away_are_neither_good_nor_bad():
    figures = measure(
        records_of((10, 10, 10, 11, record.GOOD), (20, 20, 20, 25, record.ABANDONED)), 1.0
    )
    assert (figures.error_share, figures.goodput_share, figures.samples) == (0.0, 1.0, 1)


def test_requests_never_picked_lower_the_share_sent():
    figures = measure(records_of((10, 10, 10, 11, record.GOOD), (20, 0, 0, 0, record.PENDING)), 1.0)
    assert figures.sent_share == 0.5
    assert figures.error_share == 0.5


def test_send_lag_is_the_generators_delay_not_the_wait_for_a_connection():
    figures = measure(records_of((10, 11, 90, 95, record.GOOD)), 1.0)
    assert figures.lag_max_us == 1_000


def test_windows_count_what_is_in_flight_at_their_end():
    rows = [(k * 10, k * 10, k * 10, 1000, record.GOOD) for k in range(100)]
    slices = windows(records_of(*rows), 0, 1.0, count=10)
    assert [w.inflight for w in slices[:9]] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert slices[0].offered == pytest.approx(100)
    assert slices[0].completed == 0


def test_empty_run_has_figures_and_no_percentiles():
    figures = measure(records_of(), 1.0)
    assert figures.requests == 0
    assert figures.percentiles[0].corrected is None


@pytest.mark.parametrize(("p", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (0.01, 1)])
def test_percentile_is_the_nearest_rank(p, value):
    assert nearest_rank(np.arange(1, 101), p) == value
