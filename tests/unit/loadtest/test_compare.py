import math

import msgspec
import numpy as np
import pytest

from loadtest.compare import (
    LEAST_RUNS,
    Comparison,
    compare_knees,
    compare_runs,
    compare_values,
    overall,
)
from loadtest.environment import Environment
from loadtest.errors import LoadTestError
from loadtest.knee import Knee, Probe
from loadtest.results import read_knees
from loadtest.show_compare import markdown_comparison
from loadtest.statistics import PERCENTILES, Figures, Percentile
from loadtest.store import write_comparison, write_knee
from loadtest.summary import Summary

RNG = np.random.default_rng(3)


def runs(middle, spread, count=9):
    return (middle * (1 + spread * RNG.standard_normal(count))).tolist()


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (runs(100, 0.005), runs(100, 0.005), "equivalent"),
        (runs(100, 0.01), runs(130, 0.01), "worse"),
        (runs(100, 0.01), runs(70, 0.01), "better"),
        (runs(100, 0.3), runs(100, 0.3), "inconclusive"),
        ([100.0], [200.0], "inconclusive"),
        (runs(100, 0.005), runs(101, 0.005), "equivalent"),
    ],
)
def test_verdict_follows_the_interval_of_the_ratio(a, b, verdict):
    found = compare_values("p99", a, b)
    assert found.verdict == verdict
    assert (found.more_runs > 0) == (verdict == "inconclusive")


def test_more_is_better_for_rates():
    assert compare_values("rate", [100.0] * 5, [120.0] * 5, higher_is_better=True).verdict == (
        "better"
    )


def test_overall_verdict_is_the_worst_that_decides():
    assert overall(["better", "worse", "equivalent"]) == "worse"
    assert overall(["better", "inconclusive"]) == "inconclusive"
    assert overall(["better", "equivalent"]) == "better"
    assert overall([]) == "inconclusive"


MADE = Environment("cpu", 2, 1, "k", "none", "3.11", {}, "sha256:1")


def summary(p99, good=100.0, plan="sha256:1"):
    percentiles = tuple(Percentile(p, p99, p99, p99, 1) for p in PERCENTILES)
    figures = Figures(
        100, 100, 1.0, good, good, good, good, 1.0, 0.0, 1.0, p99, p99, percentiles, {}, {},
        0.0, 0.0, 0.0,
    )  # fmt: skip
    made = msgspec.structs.replace(MADE, plan=plan)
    return Summary(
        figures, (), made, "open", "constant", "poisson", 1, 0.0, ("h:1",), {}, (), True, (), (),
        0.1, 1, False, 0,
    )  # fmt: skip


def knee(rate, cpu_us):
    probe = Probe(rate, "confirm", True, "", True, 5.0, rate, 1.0, 2.0, 3.0, 2.5, cpu_us=cpu_us)
    return Knee(rate, rate, rate * 1.03, True, True, "", (probe,), ("p99<5ms",), environment=MADE)


def test_intervals_of_equal_sides_cry_wolf_seldom():
    rng = np.random.default_rng(7)
    for paired in (False, True):
        verdicts = []
        for k in range(60):
            a, b = np.exp(0.02 * rng.standard_normal((2, 8)))
            found = compare_values("x", a, b, paired=paired, together=3, seed=k)
            verdicts.append(found.verdict)
        assert sum(verdict in {"better", "worse"} for verdict in verdicts) <= 3


def test_pairs_cancel_a_drift_that_hits_both_sides():
    drift = [1.0, 1.5, 2.2, 3.1, 4.0, 2.0, 1.2]
    a = [100 * d for d in drift]
    b = [112 * d for d in drift]
    assert compare_values("x", a, b).verdict == "inconclusive"
    found = compare_values("x", a, b, paired=True)
    assert (found.verdict, found.ratio) == ("worse", pytest.approx(1.12))


def test_pairs_need_as_many_runs_on_both_sides():
    with pytest.raises(LoadTestError, match="5 against 6"):
        compare_values("x", [1.0] * 5, [1.0] * 6, paired=True)


def test_fewer_runs_than_an_interval_needs_decide_nothing():
    few = LEAST_RUNS - 1
    found = compare_values("x", [100.0] * few, [200.0] * few)
    assert (found.verdict, found.more_runs) == ("inconclusive", 1)


def test_interval_widens_with_the_figures_that_must_hold_together():
    a, b = runs(100, 0.02, 12), runs(103, 0.02, 12)
    one, many = (compare_values("x", a, b, together=n) for n in (1, 10))
    assert many.low <= one.low <= one.high <= many.high


def test_runs_are_compared_in_every_figure_that_both_sides_have():
    found = compare_runs([summary(p) for p in runs(100, 0.003)], [summary(p) for p in
                         runs(140, 0.003)])  # fmt: skip
    verdicts = {figure.name: figure.verdict for figure in found.figures}
    assert verdicts == {"p50 us": "worse", "p99 us": "worse", "good answers/s": "equivalent"}
    assert found.verdict == "worse"


def test_gate_can_be_one_figure():
    a, b = [summary(100)] * 5, [summary(200)] * 5
    found = compare_runs(a, b, only=("good",))
    assert (found.verdict, len(found.figures)) == ("equivalent", 1)
    with pytest.raises(LoadTestError, match="expected a figure"):
        compare_runs(a, b, only=("nothing",))


def test_runs_of_other_plans_are_compared_only_when_forced():
    a, b = [summary(100)] * 5, [summary(100, plan="sha256:2")] * 5
    with pytest.raises(LoadTestError, match="machine or plan"):
        compare_runs(a, b)
    assert compare_runs(a, b, force=True).notes == ("machines or plans differ",)


def test_knees_are_compared_by_rate_and_processor_time():
    a = [knee(1000 + k, 50.0) for k in range(5)]
    b = [knee(1300 + k, 40.0) for k in range(5)]
    found = compare_knees(a, b)
    assert [(f.name, f.verdict) for f in found.figures] == [
        ("knee/s", "better"),
        ("server CPU us/request at the knee", "better"),
    ]
    assert compare_knees(b, a).verdict == "worse"


def test_knees_without_an_answer_cannot_be_compared():
    with pytest.raises(LoadTestError, match="expected a figure"):
        compare_knees([knee(0.0, None)] * 5, [knee(0.0, None)] * 5)


def test_stored_knees_and_comparisons_are_read_again(tmp_path):
    for k in range(5):
        write_knee(knee(1000.0 + k, 50.0), tmp_path / "a" / str(k))
    knees = read_knees(tmp_path / "a")
    assert [k.rate for k in knees] == [1000, 1001, 1002, 1003, 1004]
    found = compare_knees(knees, knees, paired=True)
    assert found.verdict == "equivalent"
    write_comparison(found, tmp_path / "out")
    again = msgspec.json.decode((tmp_path / "out" / "compare.json").read_bytes(), type=Comparison)
    assert again == found
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "| knee/s | 1,002.0 | 1,002.0 | 1.000 |" in text
    assert markdown_comparison(found) == text


def test_ratio_is_the_median_of_b_over_that_of_a():
    found = compare_values("x", [1.0, 2.0, 4.0, 8.0, 16.0], [4.0] * 5)
    assert found.ratio == 1.0
    assert found.low <= found.ratio <= found.high
    assert math.isfinite(found.high)
