import numpy as np
import pytest

from loadtest.errors import LoadTestError
from loadtest.record import GOOD, SERVER, Records
from loadtest.statistics import measure
from loadtest.thresholds import judge, parse_threshold


def figures_of(latencies_us, bad=0):
    """Records of good answers with these latencies and some quick server errors."""
    latency = np.array([*latencies_us, *([10.0] * bad)])
    n = len(latency)
    due = np.arange(n, dtype=np.int64) * 1_000_000 + 1
    last = due + (latency * 1e3).astype(np.int64)
    outcome = np.array([GOOD] * (n - bad) + [SERVER] * bad, dtype=np.uint8)
    records = Records(
        due, due, due, last, last, np.zeros(n, np.uint32), np.full(n, 200, np.uint16), outcome
    )
    return measure(records, max(n, 1) / 1000), np.sort(latency)


@pytest.mark.parametrize(
    ("text", "percentile", "limit"),
    [
        ("p99<25ms", 0.99, 25_000),
        ("p(99.9) <= 80", 0.999, 80_000),
        ("p50<1.5s", 0.5, 1_500_000),
        ("p99.99<900us", 0.9999, 900),
    ],
)
def test_percentile_is_read_in_any_usual_spelling(text, percentile, limit):
    threshold = parse_threshold(text)
    assert (threshold.percentile, threshold.limit) == (percentile, limit)


def test_endpoint_in_braces_narrows_the_threshold():
    assert parse_threshold("p99{endpoint=credit}<10ms").endpoint == "credit"


@pytest.mark.parametrize(
    "text",
    [
        "p99",
        "p99<",
        "<5",
        "p99<5kg",
        "p0<5ms",
        "p100<5ms",
        "speed<3",
        "err<5ms",
        "p99==5",
        "rps>9%",
    ],
)
def test_what_is_no_threshold_is_refused_and_quoted(text):
    with pytest.raises(LoadTestError) as caught:
        parse_threshold(text)
    assert caught.value.at == "--threshold"


def test_percentile_below_its_sample_floor_is_unknown_not_passed():
    figures, corrected = figures_of([100.0] * 661)
    judged = judge(parse_threshold("p99<25ms"), figures, corrected)
    assert judged.verdict == "unknown"
    assert "661 samples, need 662" in judged.why


def test_percentile_passes_only_when_its_certified_bound_passes():
    slow = [100.0] * 993 + [9_000.0] * 7
    figures, corrected = figures_of(slow)
    judged = judge(parse_threshold("p99<5ms"), figures, corrected)
    assert judged.measured == 100.0
    assert judged.judged == 9_000.0
    assert judged.verdict == "fail"
    assert judge(parse_threshold("p99<10ms"), figures, corrected).verdict == "pass"


def test_measured_value_over_the_limit_fails_even_without_enough_samples():
    figures, corrected = figures_of([50_000.0] * 20)
    assert judge(parse_threshold("p99<25ms"), figures, corrected).verdict == "fail"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("err<1%", "pass"), ("err<0.001", "fail"), ("goodput>=99%", "pass"),
        ("goodput>99.9%", "fail"), ("rps>900", "pass"), ("good_rps>1000", "fail"),
        ("avg<1ms", "pass"), ("max<90us", "fail"),
    ],
)  # fmt: skip
def test_shares_and_rates_are_judged_as_measured(text, verdict):
    figures, corrected = figures_of([100.0] * 995, bad=5)
    assert judge(parse_threshold(text), figures, corrected).verdict == verdict


def test_run_without_any_answer_fails_every_latency_threshold():
    figures, corrected = figures_of([])
    for text in ("p99<25ms", "avg<1ms", "max<1s"):
        assert judge(parse_threshold(text), figures, corrected).verdict == "fail"
