"""Rates by group, their intervals, and who is too few to be judged."""

from __future__ import annotations

import numpy as np
import pytest

from control_plane.validation import fairness


def groups(**rates):
    """Values and answers with exact rates: name=(rows, favourable)."""
    values, answer = [], []
    for name, (rows, good) in rates.items():
        values += [name] * rows
        answer += [True] * good + [False] * (rows - good)
    return np.array(values, dtype=object), np.array(answer)


def by_name(found):
    return {group.group: group for group in found.groups}


def test_ratio_compares_with_the_largest_group():
    values, answer = groups(men=(200, 100), women=(100, 35))
    found = fairness.attribute("sex", values, answer, None)
    women = by_name(found)["women"]
    assert by_name(found)["men"].status == "reference"
    assert women.air == pytest.approx(0.7)
    assert women.parity_difference == pytest.approx(-0.15)
    assert women.status == "flag"
    assert found.lowest_air == pytest.approx(0.7)


def test_interval_is_the_log_method():
    low, high = fairness.air_interval(35, 100, 100, 200)
    spread = 1.959964 * np.sqrt(1 / 35 - 1 / 100 + 1 / 100 - 1 / 200)
    assert (low, high) == pytest.approx((0.7 * np.exp(-spread), 0.7 * np.exp(spread)))
    assert fairness.air_interval(0, 100, 10, 100) is None


def test_low_ratio_that_chance_explains_is_watched_and_not_flagged():
    values, answer = groups(men=(300, 30), women=(40, 3))
    women = by_name(fairness.attribute("sex", values, answer, None))["women"]
    assert women.air == pytest.approx(0.75)
    assert women.p > 0.05
    assert women.status == "watch"


def test_small_group_is_counted_and_not_judged():
    values, answer = groups(men=(300, 150), other=(29, 0))
    found = fairness.attribute("sex", values, answer, None)
    other = by_name(found)["other"]
    assert (other.rows, other.rate, other.air, other.status) == (29, None, None, "too few rows")
    assert found.lowest_air is None


def test_gap_among_the_deserving_is_found_although_rates_are_equal():
    values = np.array(["a"] * 200 + ["b"] * 200, dtype=object)
    truth = np.tile([True] * 100 + [False] * 100, 2)
    answer = np.concatenate([truth[:200], ~truth[200:]])
    b = by_name(fairness.attribute("g", values, answer, truth))["b"]
    assert b.air == pytest.approx(1.0)
    assert b.true_positive_gap == pytest.approx(-1.0)
    assert b.false_positive_gap == pytest.approx(1.0)
    assert b.status == "watch"


def test_scores_far_apart_are_flagged_although_rates_are_equal():
    values = np.array(["a"] * 300 + ["b"] * 200, dtype=object)
    answer = np.tile([True, False], 250)
    scores = np.resize(np.random.default_rng(1).normal(0.5, 0.1, 100), 500)  # alike in both
    for shift, status in ((0.0, "ok"), (-0.03, "watch"), (-0.08, "flag")):
        score = scores + np.where(values == "b", shift, 0.0)
        b = by_name(fairness.attribute("g", values, answer, None, score))["b"]
        ours, theirs = score[300:], score[:300]
        pooled = np.sqrt((199 * ours.var(ddof=1) + 299 * theirs.var(ddof=1)) / 498)
        assert b.smd == pytest.approx((ours.mean() - theirs.mean()) / pooled)
        assert (b.air, b.status) == (pytest.approx(1.0), status)
    alike = fairness.attribute("g", values, answer, None, np.ones(500))
    assert by_name(alike)["b"].smd is None


def test_numbers_are_grouped_by_quarters_of_the_rows():
    ages = np.arange(20, 100, dtype=np.float32)
    ages[0] = np.nan
    names = fairness.group_names(ages)
    assert names[0] == "missing"
    assert len(set(names)) == 5
    assert all(str(name).startswith(("up to", "above", "missing")) for name in names)


SIZES = [52, 50, 50, 52]


def test_a_pair_shows_what_each_attribute_hides():
    # half of each sex and of each age is favoured, and nobody of two of the four pairs
    sex = np.repeat(np.array(["f", "f", "m", "m"], dtype=object), SIZES)
    age = np.repeat(np.array([20.0, 60.0, 20.0, 60.0]), SIZES)
    answer = np.repeat([True, False, False, True], SIZES)
    assert fairness.attribute("sex", sex, answer, None).lowest_air == 1.0
    (pair,) = fairness.intersections({"sex": sex, "age": age}, answer, None)
    assert pair.attribute == "sex and age"
    assert pair.lowest_air == 0.0


def test_pairs_agree_with_the_attribute_of_joined_words():
    rng = np.random.default_rng(7)
    left = rng.choice(np.array(["a", "b", "c"], dtype=object), 900, p=[0.7, 0.27, 0.03])
    right = rng.choice(np.array(["x", "y"], dtype=object), 900)
    answer, truth = rng.random(900) < 0.4, rng.random(900) < 0.5
    joined = np.array([f"{a}, {b}" for a, b in zip(left, right, strict=True)], dtype=object)
    slow = fairness.attribute("left and right", joined, answer, truth)
    (fast,) = fairness.intersections({"left": left, "right": right}, answer, truth)
    assert fast == slow
    assert {group.status for group in fast.groups} >= {"reference", "too few rows"}
