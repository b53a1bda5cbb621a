"""Drift figures against their definitions, and what small samples may not say."""

from __future__ import annotations

import numpy as np
import pytest

from control_plane.validation import drift


def numbers(rows, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(shift, 1.0, rows)


def words(rows, weights, seed=0):
    random = np.random.default_rng(seed)
    return random.choice(np.array(["a", "b", "c"], dtype=object), rows, p=weights)


def only(found):
    assert len(found) == 1
    return found[0]


def test_same_rows_do_not_drift():
    x = numbers(2000)
    found = only(drift.compare({"x": x}, {"x": x.copy()}))
    assert found.psi == pytest.approx(0.0, abs=1e-9)
    assert (found.ks, found.js, found.status) == (0.0, pytest.approx(0.0, abs=1e-6), "ok")


def test_shifted_rows_alert_with_figures_that_agree_with_scipy():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy, ks_2samp

    old, new = numbers(5000), numbers(5000, 0.8, seed=1)
    found = only(drift.compare({"x": old}, {"x": new}))
    assert found.status == "alert"
    assert found.ks == pytest.approx(ks_2samp(old, new).statistic, abs=1e-12)
    p = drift.shares(np.array([round(b[1] * 5000) for b in found.bins]))
    q = drift.shares(np.array([round(b[2] * 5000) for b in found.bins]))
    assert found.psi == pytest.approx(entropy(p, q) + entropy(q, p), rel=1e-6)
    assert found.kl == pytest.approx(entropy(q, p), rel=1e-6)
    assert found.js == pytest.approx(jensenshannon(p, q, base=2), rel=1e-6)


def test_small_sample_is_not_judged_whatever_its_psi():
    found = only(drift.compare({"x": numbers(5000)}, {"x": numbers(60, 1.0, seed=2)}))
    assert found.psi > drift.PSI_ALERT
    assert found.status == "insufficient data"
    assert found.needed > 60


def test_needed_rows_are_those_of_the_null_distribution():
    assert drift.rows_needed(10**9, 10) == pytest.approx(217, abs=1)
    equal = next(n for n in range(1, 2000) if drift.rows_needed(n, 10) <= n)
    assert equal == pytest.approx(433, abs=2)


def test_without_drift_false_alarms_are_rare():
    alarms = 0
    for seed in range(60):
        old, new = numbers(800, seed=seed), numbers(800, seed=1000 + seed)
        alarms += only(drift.compare({"x": old}, {"x": new})).status != "ok"
    assert alarms <= 3


def test_missing_and_unseen_have_bins_of_their_own():
    old = words(1000, [0.5, 0.3, 0.2])
    new = old.copy()
    new[:200], new[200:400] = None, "never seen"
    found = only(drift.compare({"w": old}, {"w": new}))
    bins = {label: (before, now) for label, before, now in found.bins}
    assert bins["missing"] == (0.0, 0.2)
    assert bins["unseen"] == (0.0, 0.2)
    assert found.status == "alert"
    holes = numbers(1000)
    holes[:300] = np.nan
    assert only(drift.compare({"x": numbers(1000)}, {"x": holes})).status == "alert"


def test_constant_and_empty_columns_are_survived():
    constant = np.ones(500)
    assert only(drift.compare({"x": constant}, {"x": constant})).status == "ok"
    empty = np.full(500, np.nan)
    assert only(drift.compare({"x": empty}, {"x": empty})).psi == pytest.approx(0.0)


def test_p_values_are_adjusted_over_all_features():
    raw = [0.001, 0.02, 0.03, 0.5]
    assert drift.adjust(raw) == pytest.approx([0.004, 0.04, 0.04, 0.5])
