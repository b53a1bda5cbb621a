"""Figures against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from control_plane.datasets.quality import rank_auc
from control_plane.training import metrics
from control_plane.training.data import split_rows


def sample(rows=400, seed=1):
    random = np.random.default_rng(seed)
    answer = random.random(rows) < 0.3
    score = np.clip(random.normal(0.4 + 0.2 * answer, 0.2), 0.001, 0.999).round(2)
    return score, answer


def test_auc_ks_and_log_loss_agree_with_scikit_learn_and_scipy():
    from scipy.stats import ks_2samp
    from sklearn.metrics import log_loss, roc_auc_score

    score, answer = sample()
    assert rank_auc(score, answer) == pytest.approx(roc_auc_score(answer, score), abs=1e-12)
    expected = ks_2samp(score[answer], score[~answer]).statistic
    assert metrics.ks_statistic(score, answer) == pytest.approx(expected, abs=1e-12)
    proba = np.stack([1 - score, score], axis=1)
    words = np.where(answer, "yes", "no")
    found = metrics.classification(words, proba, ("no", "yes"), "yes")
    assert found["log_loss"] == pytest.approx(log_loss(answer, score), abs=1e-12)
    assert found["brier"] == pytest.approx(float(((score - answer) ** 2).mean()), abs=1e-12)


def test_intervals_contain_the_figure_and_shrink_with_more_rows():
    widths = []
    for rows in (200, 5000):
        score, answer = sample(rows)
        proba = np.stack([1 - score, score], axis=1)
        words = np.where(answer, "yes", "no")
        found = metrics.classification(words, proba, ("no", "yes"), "yes")
        for name, (low, high) in found["intervals"].items():
            assert low <= found[name] <= high
        low, high = found["intervals"]["roc_auc"]
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_confusion_counts_true_classes_in_rows():
    table = metrics.confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ("no", "yes"))
    assert table["counts"] == [[1, 1], [0, 2]]


def test_calibration_of_a_perfect_score_is_the_diagonal():
    score = np.linspace(0, 1, 1000)
    answer = np.random.default_rng(0).random(1000) < score
    for part in metrics.calibration(score, answer):
        assert part["observed"] == pytest.approx(part["predicted"], abs=0.15)


def test_split_keeps_class_shares_is_seeded_and_loses_no_row():
    target = np.array(["a"] * 90 + ["b"] * 10)
    one = split_rows(target, 100, 0.2, 7, stratify=True)
    again = split_rows(target, 100, 0.2, 7, stratify=True)
    other = split_rows(target, 100, 0.2, 8, stratify=True)
    assert (target[one.test] == "b").sum() == 2
    assert np.array_equal(one.test, again.test)
    assert not np.array_equal(one.test, other.test)
    assert sorted([*one.train, *one.test]) == list(range(100))


def test_regression_figures():
    found = metrics.regression(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    assert found["mae"] == pytest.approx(1 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(1 / 3))
    assert found["r2"] == pytest.approx(0.5)
