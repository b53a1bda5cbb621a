import msgspec
import numpy as np
import pytest

from loadtest.generator import Report
from loadtest.plan import Load, Plan, Target, Template
from loadtest.processes import AgentClock, Raw
from loadtest.record import GOOD, PENDING, Records
from loadtest.schedule import build_schedule, constant
from loadtest.statistics import Window
from loadtest.summary import decode, encode, summarise
from loadtest.verdict import backlog_growth

LOAD = Load(constant(1000, 10), arrival="constant")
PLAN = Plan((Target("10.0.0.1", 1),), (Template(b""),), LOAD)
START = 10**12


def raw_of(latency_us, *, lag_us=10.0, cpu=0.2, step_ns=0, sent=1.0, error=""):
    """A run whose request k took latency_us(k); lag and share sent are the generator's."""
    due = build_schedule(LOAD) + START
    n = len(due)
    k = np.arange(n)
    picked = due + int(lag_us * 1e3)
    last = due + (np.broadcast_to(latency_us(k), n) * 1e3).astype(np.int64)
    outcome = np.full(n, GOOD, np.uint8)
    lost = k >= sent * n
    outcome[lost] = PENDING
    picked[lost] = 0
    records = Records(
        due, picked, picked.copy(), last, np.where(lost, 0, last), np.zeros(n, np.uint32),
        np.full(n, 200, np.uint16), outcome,
    )  # fmt: skip
    return Raw(records, (Report(cpu * 10, 10.0, 4, error),), START, int(due[-1]), False, step_ns)


def rules_of(raw, ceiling=None, load=LOAD):
    summary = summarise(msgspec.structs.replace(PLAN, load=load), raw, ceiling)
    return {reason.rule for reason in summary.reasons}


def test_calm_run_breaks_no_rule():
    summary = summarise(PLAN, raw_of(lambda k: 500.0))
    assert (summary.valid, summary.exit_status, summary.reasons) == (True, 0, ())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"lag_us": 900.0}, "lag"),
        ({"cpu": 0.95}, "cpu"),
        ({"step_ns": 40_000_000}, "clock"),
        ({"sent": 0.99}, "sent"),
        ({"error": "a generator process ended without its report"}, "process"),
    ],
)
def test_generator_that_was_the_limit_makes_the_run_invalid(fields, rule):
    raw = raw_of(lambda k: 2000.0, **fields)
    assert rule in rules_of(raw)
    summary = summarise(msgspec.structs.replace(PLAN, thresholds=("max<1us",)), raw)
    assert summary.exit_status == 3


def test_lag_is_allowed_a_twentieth_of_a_slow_servers_median():
    assert rules_of(raw_of(lambda k: 40_000.0, lag_us=900.0)) == set()


def test_rate_over_half_the_calibrated_ceiling_is_told():
    raw = raw_of(lambda k: 500.0)
    assert rules_of(raw, ceiling=1500.0) == {"ceiling"}
    assert rules_of(raw, ceiling=2500.0) == set()


def test_server_that_still_warms_up_is_told():
    assert rules_of(raw_of(lambda k: np.where(k < 1000, 5000.0, 500.0))) == {"warm-up"}


def test_growing_backlog_is_over_saturation_and_a_failed_threshold_still_fails():
    raw = raw_of(lambda k: 100.0 * k)
    assert "backlog" in rules_of(raw)
    assert summarise(PLAN, raw).exit_status == 3
    strict = msgspec.structs.replace(PLAN, thresholds=("max<1ms",))
    assert summarise(strict, raw).exit_status == 99


def test_noise_in_flight_is_no_backlog():
    rng = np.random.default_rng(5)
    slices = tuple(
        Window(float(k), 1000.0, 1000.0, 1000.0, 1.0, 1.0, int(n))
        for k, n in enumerate(rng.poisson(20, 30))
    )
    assert backlog_growth(slices) == ""


def test_profiles_that_change_their_rate_are_not_asked_to_be_steady():
    rising = Load(((0.0, 1000.0), (5.0, 1000.0), (10.0, 1000.1)), arrival="constant")
    raw = raw_of(lambda k: np.where(k < 1000, 5000.0, 500.0))
    assert "warm-up" not in rules_of(raw, load=rising)


def test_summary_survives_its_document():
    summary = summarise(PLAN, raw_of(lambda k: 500.0))
    assert decode(encode(summary)) == summary


def test_threshold_for_one_endpoint_sees_only_its_requests():
    raw = raw_of(lambda k: np.where(k % 2 == 0, 100.0, 9000.0))
    raw.records.choice[1::2] = 1
    plan = msgspec.structs.replace(
        PLAN,
        templates=(Template(b"", "fast"), Template(b"", "slow")),
        thresholds=("p99{endpoint=fast}<1ms", "p99{endpoint=slow}<1ms", "p99{endpoint=no}<1ms"),
    )
    summary = summarise(plan, raw)
    assert [j.verdict for j in summary.thresholds] == ["pass", "fail", "fail"]
    assert summary.endpoints["slow"].requests == 5000


def test_agent_whose_clock_is_not_known_well_enough_makes_the_run_invalid():
    good, bad = AgentClock("a:1", 5, 40.0, 10.0), AgentClock("b:1", 5, 40.0, 900.0)
    raw = raw_of(lambda k: 500.0)
    assert summarise(PLAN, msgspec.structs.replace(raw, clocks=(good,))).reasons == (
        summarise(PLAN, raw).reasons
    )
    found = summarise(PLAN, msgspec.structs.replace(raw, clocks=(good, bad)))
    assert [reason.rule for reason in found.reasons][-1:] == ["clock"]
    assert "agent b:1 drifted by 900 us" in found.reasons[-1].text
    assert not found.valid
