import numpy as np
import pytest

from loadtest.errors import LoadTestError
from loadtest.plan import Load, expected
from loadtest.schedule import build_schedule, constant, on_off, ramp, read_trace, spike, step


def seconds(load):
    return build_schedule(load) / 1e9


def test_constant_arrivals_are_evenly_spaced_int64_nanoseconds():
    offsets = build_schedule(Load(constant(1000, 2), arrival="constant"))
    assert offsets.dtype == np.int64
    assert len(offsets) == 2000
    assert set(np.diff(offsets)) <= {999_999, 1_000_000, 1_000_001}


def test_poisson_arrivals_have_exponential_gaps():
    gaps = np.diff(seconds(Load(constant(2000, 50))))
    assert gaps.mean() == pytest.approx(1 / 2000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)


def test_same_seed_gives_the_same_schedule_and_another_seed_another():
    one, same, other = (build_schedule(Load(constant(100, 5), seed=s)) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_warmup_comes_first_at_the_first_rate_and_is_added_to_the_time():
    at = seconds(Load(step(100, 300, 2, 10), arrival="constant", warmup_s=2))
    assert np.count_nonzero(at < 2) == 200
    assert np.count_nonzero((at >= 2) & (at < 7)) == 500
    assert np.count_nonzero(at >= 7) == 1500


@pytest.mark.parametrize(
    ("knots", "per_second"),
    [
        (ramp(0, 100, 10), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
        (step(10, 40, 2, 10), [10] * 5 + [40] * 5),
        (spike(10, 90, 10), [10] * 4 + [90] * 2 + [10] * 4),
        (on_off(50, 1, 1, 4), [50, 0, 50, 0]),
    ],
)
def test_profile_gives_its_rate_in_every_second(knots, per_second):
    at = seconds(Load(knots, arrival="constant"))
    counted = np.histogram(at, len(per_second), (0, len(per_second)))[0]
    assert counted.tolist() == per_second
    assert expected(Load(knots)) == pytest.approx(sum(per_second))


def test_on_off_that_ends_within_a_burst_ends_on_time():
    assert on_off(50, 2, 1, 4)[-1] == (4, 50)


def test_trace_is_replayed_from_its_first_time(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("at,user\n10.0,a\n10.5,b\n# pause\n12.25,c\n")
    trace = read_trace(file)
    assert trace == (0.0, 0.5, 2.25)
    assert seconds(Load(constant(1, 1), trace=trace)).tolist() == [0.0, 0.5, 2.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n3\n2\n", "times go backwards: 2 after 3"),
        ("1\nsoon\n", "expected a time in seconds, got 'soon'"),
        ("1\nnan\n", "times go backwards"),
        ("at\n5\n", "at least two different times"),
        ("", "at least two different times"),
    ],
)
def test_bad_trace_is_refused_with_its_line(tmp_path, text, message):
    file = tmp_path / "trace"
    file.write_text(text)
    with pytest.raises(LoadTestError, match=message) as caught:
        read_trace(file)
    assert str(file) in caught.value.at
