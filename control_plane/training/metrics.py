"""Figures of held-out rows, each with a bootstrap interval; plain numpy, so reports can use it too.

Intervals are percentile bootstrap intervals of level 95% over rows, with a fixed seed. They speak
of the sample of test rows, not of another training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control_plane.datasets.quality import rank_auc

RESAMPLES = 200
LEVEL = 0.95
BOOTSTRAP_ROWS = 20_000
"""Beyond this many rows a resample draws only this many, and its interval is scaled."""
_TINY = 1e-15

Floats = NDArray[np.float64]
Measure = Callable[[NDArray[np.int64]], float]


def classification(
    target: NDArray[Any], proba: Floats, classes: tuple[str, ...], positive: str
) -> dict[str, Any]:
    """Figures of a classifier.

    Args:
        target: words, shape (rows,).
        proba: shape (rows, classes), in the order of ``classes``.
        classes: labels.
        positive: the class that AUC, KS and Brier speak of.

    Returns:
        ``roc_auc, accuracy, log_loss, brier, ks, rows, positive, intervals, confusion``.
    """
    codes = np.searchsorted(np.asarray(classes), target)
    place = classes.index(positive)
    score, answer = proba[:, place], codes == place
    own = np.clip(proba[np.arange(len(codes)), codes], _TINY, 1.0)
    losses = -np.log(own)
    right = (np.argmax(proba, axis=1) == codes).astype(np.float64)
    squares = (score - answer) ** 2
    measures: dict[str, Measure] = {
        "roc_auc": lambda rows: rank_auc(score[rows], answer[rows]),
        "accuracy": lambda rows: float(right[rows].mean()),
        "log_loss": lambda rows: float(losses[rows].mean()),
        "brier": lambda rows: float(squares[rows].mean()),
        "ks": lambda rows: ks_statistic(score[rows], answer[rows]),
    }
    values, intervals = with_intervals(measures, len(codes))
    return {
        **values,
        "rows": len(codes),
        "positive": positive,
        "intervals": intervals,
        "confusion": confusion(codes, np.argmax(proba, axis=1), classes),
    }


def regression(target: Floats, value: Floats) -> dict[str, Any]:
    """Figures of a regression: ``rmse, mae, r2, rows, intervals``."""
    error = value - target
    spread = float(np.square(target - target.mean()).mean())
    measures: dict[str, Measure] = {
        "rmse": lambda rows: float(np.sqrt(np.square(error[rows]).mean())),
        "mae": lambda rows: float(np.abs(error[rows]).mean()),
        "r2": lambda rows: 1.0 - float(np.square(error[rows]).mean()) / spread if spread else 0.0,
    }
    values, intervals = with_intervals(measures, len(target))
    return {**values, "rows": len(target), "intervals": intervals}


def with_intervals(
    measures: dict[str, Measure], rows: int, *, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Each measure on all rows, and its bootstrap interval."""
    everything = np.arange(rows)
    values = {name: measure(everything) for name, measure in measures.items()}
    random = np.random.Generator(np.random.PCG64(seed))
    size = min(rows, BOOTSTRAP_ROWS)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(RESAMPLES):
        sample = random.integers(0, rows, size)
        for name, measure in measures.items():
            drawn[name].append(measure(sample))
    shrink = float(np.sqrt(size / rows))
    tail = (1 - LEVEL) / 2
    intervals = {}
    for name, found in drawn.items():
        low, high = np.quantile(found, [tail, 1 - tail])
        centre = values[name]
        intervals[name] = (
            centre + (float(low) - centre) * shrink,
            centre + (float(high) - centre) * shrink,
        )
    return values, intervals


def ks_statistic(score: Floats, answer: NDArray[np.bool_]) -> float:
    """Largest distance between the score distributions of the two classes, 0 to 1.

    >>> ks_statistic(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    1.0
    """
    positive, negative = int(answer.sum()), int((~answer).sum())
    if not positive or not negative:
        return 0.0
    order = np.argsort(score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(answer[order])[ends] / positive
    misses = np.cumsum(~answer[order])[ends] / negative
    return float(np.abs(hits - misses).max())


def confusion(
    codes: NDArray[np.int64], guessed: NDArray[np.int64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Counts by true class (rows) and answered class (columns)."""
    width = len(classes)
    table = np.bincount(codes * width + guessed, minlength=width * width).reshape(width, width)
    return {"classes": list(classes), "counts": table.tolist()}


def calibration(score: Floats, answer: NDArray[np.bool_], bins: int = 10) -> list[dict[str, Any]]:
    """Predicted against observed share by equally filled bins of the score."""
    order = np.argsort(score, kind="stable")
    found = []
    for part in np.array_split(order, bins):
        if not len(part):
            continue
        found.append(
            {
                "rows": len(part),
                "predicted": float(score[part].mean()),
                "observed": float(answer[part].mean()),
            }
        )
    return found


def roc_points(score: Floats, answer: NDArray[np.bool_], most: int = 200) -> list[list[float]]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), thinned."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(answer[order])[ends] / max(1, int(answer.sum()))
    misses = np.cumsum(~answer[order])[ends] / max(1, int((~answer).sum()))
    keep = np.unique(np.linspace(0, len(ends) - 1, min(most, len(ends))).astype(int))
    points = [[float(misses[k]), float(hits[k])] for k in keep]
    return [[0.0, 0.0], *points]


def precision_recall_points(
    score: Floats, answer: NDArray[np.bool_], most: int = 200
) -> list[list[float]]:
    """(recall, precision) from the strictest threshold to the loosest, thinned."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(answer[order])[ends]
    recall, precision = hits / max(1, int(answer.sum())), hits / (ends + 1)
    keep = np.unique(np.linspace(0, len(ends) - 1, min(most, len(ends))).astype(int))
    return [[float(recall[k]), float(precision[k])] for k in keep]
