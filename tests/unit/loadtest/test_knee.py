import math

import msgspec
import numpy as np
import pytest

from loadtest.generator import Report
from loadtest.knee import Probe, find_knee, judge_probe, probe_plan
from loadtest.plan import Load, Plan, Target, Template
from loadtest.processes import Raw
from loadtest.record import GOOD, Records
from loadtest.schedule import build_schedule, constant
from loadtest.summary import summarise

SERVICE_S = 0.001
LIMIT_S = 0.020
KNEE = 1 / SERVICE_S - math.log(100) / LIMIT_S
"""Of an M/M/1 queue: its time in system is exponential with rate mu - lambda, so p99 is
ln(100)/(mu - lambda)."""


def simulated_queue(plan, seed):
    """A run against one server with exponential service times, by Lindley's recursion."""
    due = build_schedule(plan.load)
    service = np.random.default_rng(seed).exponential(SERVICE_S * 1e9, len(due)).astype(np.int64)
    # the end of service is the running maximum of (arrival - work before it) plus the work so far
    work = np.cumsum(service)
    done = np.maximum.accumulate(due - (work - service)) + work
    start = 10**12
    n = len(due)
    records = Records(
        due + start, due + start, due + start, done + start, done + start,
        np.zeros(n, np.uint32), np.full(n, 200, np.uint16), np.full(n, GOOD, np.uint8),
    )  # fmt: skip
    return Raw(records, (Report(0.1, 1.0, 1),), start, int(done[-1]) + start, False, 0)


def plan_of(seed):
    return Plan(
        (Target("10.0.0.1", 1),),
        (Template(b""),),
        Load(constant(1, 1), warmup_s=2, seed=seed),
        thresholds=("p99<20ms",),
    )


def measured_knee(seed):
    probes = []

    def measure(rate, phase):
        seconds = 600 if phase in {"confirm", "beyond"} else 120
        load_seed = seed * 1000 + len(probes)
        plan = probe_plan(plan_of(load_seed), rate, seconds=seconds)
        probe = judge_probe(summarise(plan, simulated_queue(plan, load_seed)), rate, phase)
        probes.append(probe)
        return probe

    return find_knee(measure, 50, thresholds=("p99<20ms",))


def test_knee_of_a_known_queue_is_found_within_ten_percent_three_times():
    rates = [measured_knee(seed).rate for seed in (1, 2, 3)]
    assert max(rates) / min(rates) < 1.10
    for rate in rates:
        assert rate == pytest.approx(KNEE, rel=0.10)


def step_at(limit, seen=None):
    """A server that holds up to a limit, exactly."""

    def measure(rate, phase):
        if seen is not None:
            seen.append((round(rate), phase))
        return Probe(rate, phase, rate <= limit, "" if rate <= limit else "too slow", True,
                     1.0, rate, 1.0, 1.0, 1.0, 1.0)  # fmt: skip

    return measure


@pytest.mark.parametrize("limit", [37.0, 1000.0, 123_456.0])
def test_bracket_and_bisection_end_within_the_width(limit):
    knee = find_knee(step_at(limit), 100)
    assert knee.confirmed
    assert knee.low <= limit < knee.high
    assert knee.rate >= limit / 1.03
    assert knee.monotone


def test_answer_is_confirmed_by_a_long_run_and_ten_percent_more_that_fails():
    seen = []
    knee = find_knee(step_at(1000, seen), 100)
    assert [phase for _, phase in seen[-2:]] == ["confirm", "beyond"]
    assert seen[-1][0] == round(knee.rate * 1.1)


def test_start_above_the_knee_searches_downwards():
    assert find_knee(step_at(10), 1000).rate == pytest.approx(10, rel=0.04)


def test_server_that_never_holds_has_no_knee():
    knee = find_knee(step_at(0), 100)
    assert (knee.rate, knee.confirmed) == (0, False)
    assert "too slow" in knee.note


def test_server_that_never_fails_is_told_to_lie_beyond():
    knee = find_knee(step_at(math.inf), 100, most=5000)
    assert knee.rate == 5000
    assert not knee.confirmed
    assert "beyond" in knee.note


def test_confirmation_that_fails_lowers_the_answer():
    def measure(rate, phase):
        limit = 900 if phase == "confirm" else 1000
        return step_at(limit)(rate, phase)

    knee = find_knee(measure, 100)
    assert knee.rate <= 900


def test_probe_that_the_generator_spoilt_is_made_again():
    calls = []

    def measure(rate, phase):
        calls.append(rate)
        probe = step_at(1000)(rate, phase)
        spoilt = len(calls) == 2
        return msgspec.structs.replace(probe, sound=not spoilt, holds=probe.holds and not spoilt)

    knee = find_knee(measure, 100)
    assert calls[1] == calls[2]
    assert knee.rate == pytest.approx(1000, rel=0.04)


def test_probe_lasts_long_enough_for_its_percentile():
    plan = msgspec.structs.replace(plan_of(1), thresholds=("p99.9<5ms",))
    load = probe_plan(plan, 100, seconds=1).load
    assert load.measured_s * 100 >= 6636
