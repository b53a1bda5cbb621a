"""How far the rows at hand are from the rows of training, feature by feature.

Counts over fixed bins: quantile bins of the reference for numbers, the most frequent words for
categories, and always a bin for MISSING and one for what the reference never had. A number below
the sample that its band needs is not judged: under no drift PSI is about (1/n + 1/m) times a
chi-square with bins - 1 degrees of freedom (Yurdakul and Naranjo), so small samples alarm by
chance alone.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

BINS = 10
SCORE_BINS = 20
TOP_WORDS = 50
EPSILON = 1e-4
"""Smallest share of a bin, so that logarithms exist."""
PSI_WATCH, PSI_ALERT = 0.10, 0.25
KS_ALERT = 0.10
JS_WATCH, JS_ALERT = 0.10, 0.20
ALPHA = 0.01

Status = Literal["ok", "watch", "alert", "insufficient data"]


class Drift(Struct, frozen=True):
    """Drift of one feature or of the score.

    Attributes:
        psi: KL(P||Q) + KL(Q||P) over the bins.
        ks: largest distance of the distribution functions; numbers only.
        js: Jensen-Shannon distance (base 2), 0 to 1.
        kl: KL(current || reference).
        p: chi-square p-value of the counts, adjusted by Benjamini and Hochberg over all features.
        needed: rows that a judgement at the watch line needs, of this sample's shape.
        bins: labels with reference and current shares.
    """

    feature: str
    psi: float
    ks: float | None
    js: float
    kl: float
    p: float
    rows_reference: int
    rows_current: int
    needed: int
    status: Status
    bins: list[tuple[str, float, float]]


def edges_of(reference: NDArray[np.float64], bins: int = BINS) -> NDArray[np.float64]:
    """Inner quantile edges of the reference without MISSING; fewer when values repeat."""
    present = reference[~np.isnan(reference)]
    if not len(present):
        return np.empty(0)
    quantiles = np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(quantiles)


def number_counts(
    values: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Rows per bin, the last bin being MISSING."""
    missing = np.isnan(values)
    places = np.searchsorted(edges, values[~missing], side="left")
    counts = np.bincount(places, minlength=len(edges) + 1)
    bounds = [*(f"{edge:.6g}" for edge in edges)]
    labels = [f"up to {bound}" for bound in bounds] + ["above" if bounds else "any"]
    return [*labels, "missing"], np.append(counts, int(missing.sum()))


def word_counts(
    reference: NDArray[Any], current: NDArray[Any]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Rows per word of both, with bins for other words, unseen words and MISSING."""
    left, right = _tally(reference), _tally(current)
    top = sorted((w for w in left if w is not None), key=lambda w: (-left[w], w))[:TOP_WORDS]
    chosen = set(top)
    rows = []
    for tally in (left, right):
        other = sum(n for w, n in tally.items() if w is not None and w in left and w not in chosen)
        unseen = sum(n for w, n in tally.items() if w is not None and w not in left)
        rows.append([*(tally.get(w, 0) for w in top), other, unseen, tally.get(None, 0)])
    labels = [*map(str, top), "other", "unseen", "missing"]
    return labels, np.array(rows[0]), np.array(rows[1])


def _tally(values: NDArray[Any]) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for value in values.tolist():
        key = None if value is None or value != value else value
        found[key] = found.get(key, 0) + 1
    return found


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts as shares, none below :data:`EPSILON`."""
    raw = counts / max(1, int(counts.sum()))
    raised = np.maximum(raw, EPSILON)
    result: NDArray[np.float64] = raised / raised.sum()
    return result


def psi(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Population stability index of two distributions over the same bins.

    >>> round(psi(np.array([0.5, 0.5]), np.array([0.6, 0.4])), 4)
    0.0405
    """
    return float(((q - p) * np.log(q / p)).sum())


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of q from p, in nats: sum of q log(q / p)."""
    return float((q * np.log(q / p)).sum())


def js_distance(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon distance, base 2: 0 for the same, 1 for disjoint."""
    middle = (p + q) / 2
    divergence = (p * np.log2(p / middle)).sum() / 2 + (q * np.log2(q / middle)).sum() / 2
    return float(np.sqrt(max(0.0, divergence)))


def ks_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest distance of two empirical distribution functions, MISSING left out."""
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return 0.0
    every = np.concatenate([a, b])
    left = np.searchsorted(a, every, side="right") / len(a)
    right = np.searchsorted(b, every, side="right") / len(b)
    return float(np.abs(left - right).max())


def judge(counts: tuple[NDArray[np.int64], NDArray[np.int64]], value: float, p: float,
          needed: int) -> Status:  # fmt: skip
    """Band of a PSI, if the sample is large enough to say so."""
    if min(int(counts[0].sum()), int(counts[1].sum())) < needed:
        return "insufficient data"
    if value > PSI_ALERT and p < ALPHA:
        return "alert"
    return "watch" if value > PSI_WATCH and p < ALPHA else "ok"


def rows_needed(reference: int, used_bins: int) -> int:
    """Current rows for which the watch line lies above the 99% quantile of no drift at all."""
    from scipy.stats import chi2

    quantile = float(chi2.ppf(1 - ALPHA, max(1, used_bins - 1)))
    rest = PSI_WATCH / quantile - 1 / max(1, reference)
    return int(np.ceil(1 / rest)) if rest > 0 else 2**31


def p_of(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Chi-square p-value that both counts come from one distribution."""
    from scipy.stats import chi2_contingency

    used = (left + right) > 0
    if used.sum() < 2 or not left.sum() or not right.sum():
        return 1.0
    table = np.stack([left[used], right[used]])
    return float(chi2_contingency(table, correction=False).pvalue)


def adjust(values: list[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values, in the given order.

    >>> [round(p, 3) for p in adjust([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    n = len(values)
    order = np.argsort(values)
    adjusted = np.empty(n)
    lowest = 1.0
    for rank in range(n - 1, -1, -1):
        place = order[rank]
        lowest = min(lowest, values[place] * n / (rank + 1))
        adjusted[place] = lowest
    return [float(value) for value in adjusted]


def compare(reference: dict[str, NDArray[Any]], current: dict[str, NDArray[Any]]) -> list[Drift]:
    """Drift of every column that both have.

    Args:
        reference: columns of training rows: float arrays with NaN, or object arrays of words.
        current: the same columns of the rows at hand; ``score`` is binned finer.
    """
    raw: list[Any] = []
    for name, old in reference.items():
        new = current[name]
        ks = None
        if old.dtype.kind == "f":
            edges = edges_of(old, SCORE_BINS if name == "score" else BINS)
            labels, left = number_counts(old, edges)
            right = number_counts(new, edges)[1]
            ks = ks_distance(old, new)
        else:
            labels, left, right = word_counts(old, new)
        raw.append((name, labels, left, right, ks, p_of(left, right)))
    adjusted = adjust([item[-1] for item in raw])
    found = []
    for (name, labels, left, right, ks, _), p in zip(raw, adjusted, strict=True):
        a, b = shares(left), shares(right)
        value = psi(a, b)
        needed = rows_needed(int(left.sum()), int(((left + right) > 0).sum()))
        found.append(
            Drift(
                name,
                value,
                ks,
                js_distance(a, b),
                kl(a, b),
                p,
                int(left.sum()),
                int(right.sum()),
                needed,
                judge((left, right), value, p, needed),
                [
                    (label, round(float(x / max(1, left.sum())), 6),
                     round(float(y / max(1, right.sum())), 6))
                    for label, x, y in zip(labels, left, right, strict=True)
                ],
            )
        )  # fmt: skip
    return found
