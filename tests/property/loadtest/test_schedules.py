import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtest.plan import Load, expected
from loadtest.schedule import build_schedule

rates = st.floats(0, 500)


@st.composite
def loads(draw):
    widths = draw(st.lists(st.floats(0, 5), min_size=1, max_size=6))
    levels = draw(st.lists(rates, min_size=len(widths) + 1, max_size=len(widths) + 1))
    times = np.concatenate([[0.0], np.cumsum(widths)])
    return Load(
        tuple(zip(times.tolist(), levels, strict=True)),
        draw(st.sampled_from(["constant", "poisson"])),
        draw(st.floats(0, 2)),
        draw(st.integers(0, 2**32)),
    )


@given(loads())
def test_schedule_ascends_within_its_time(load):
    offsets = build_schedule(load)
    end = load.warmup_s + load.knots[-1][0]
    assert (np.diff(offsets) >= 0).all()
    assert len(offsets) == 0 or (offsets[0] >= 0 and offsets[-1] <= end * 1e9 + 1)


@given(loads())
def test_number_of_requests_is_the_area_under_the_rate(load):
    area = expected(load)
    count = len(build_schedule(load))
    slack = 1 if load.arrival == "constant" else 8 * area**0.5 + 8
    assert abs(count - area) <= slack
