"""How decisions fall on groups of people: screens with intervals, never a verdict.

The adverse impact ratio compares each group's rate of favourable answers with the reference
group's, here the largest one. The 0.80 line comes from 29 CFR 1607.4(D) (employment) and is used as
a screen: below it, a person has to look and write down what he found.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

SMALLEST = 30
"""A group with fewer rows is counted and not judged."""
AIR_FLAG, AIR_WATCH = 0.80, 0.90
GAP_FLAG = 0.10
SMD_WATCH, SMD_FLAG = 0.2, 0.5
"""Small and medium effects of Cohen (1988), Statistical Power Analysis, 2nd ed., section 2.2."""
_Z = 1.959963984540054

Status = Literal["reference", "ok", "watch", "flag", "too few rows"]


class Group(Struct, frozen=True):
    """One group of one protected attribute.

    Attributes:
        rate: share with the favourable answer.
        air: rate over the reference group's rate, with its 95% interval (log method).
        parity_difference: rate minus the reference group's.
        true_positive_gap: difference to the reference group of the rate among those whose true
            outcome was favourable.
        false_positive_gap: likewise among the others.
        p: Fisher's exact test of the two rates.
        smd: mean probability of the favourable class minus the reference group's, in standard
            deviations pooled over both.
    """

    group: str
    rows: int
    favourable: int
    rate: float | None
    air: float | None
    air_interval: tuple[float, float] | None
    parity_difference: float | None
    true_positive_gap: float | None
    false_positive_gap: float | None
    p: float | None
    status: Status
    smd: float | None = None


class Attribute(Struct, frozen=True):
    """One protected attribute, group by group, the reference first."""

    attribute: str
    groups: list[Group]
    lowest_air: float | None
    """Of the groups that are large enough; what a gate compares."""


def group_names(values: NDArray[Any]) -> NDArray[np.str_]:
    """A group for each row: words as they are, numbers by quarters of the rows."""
    if values.dtype.kind not in "fiu":
        return np.array(["missing" if v is None else str(v) for v in values.tolist()])
    numbers = values.astype(np.float64)
    present = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(present, [0.25, 0.5, 0.75])) if len(present) else np.empty(0)
    names = _bands(edges)
    places = np.searchsorted(edges, numbers, side="left")
    return np.where(np.isnan(numbers), "missing", np.array(names)[places])


def _bands(edges: NDArray[np.float64]) -> list[str]:
    if not len(edges):
        return ["any"]
    texts = [f"{edge:g}" for edge in edges]
    inner = [f"above {low} to {high}" for low, high in itertools.pairwise(texts)]
    return [f"up to {texts[0]}", *inner, f"above {texts[-1]}"]


def air_interval(a: int, n: int, c: int, m: int) -> tuple[float, float] | None:
    """95% interval of (a / n) / (c / m) by the log method; None when a rate is zero.

    Source:
        Katz, Baptista, Azen, Pike (1978), Biometrics 34: 469-474.
    """
    if not a or not c:
        return None
    ratio = (a / n) / (c / m)
    spread = _Z * float(np.sqrt(1 / a - 1 / n + 1 / c - 1 / m))
    return float(ratio * np.exp(-spread)), float(ratio * np.exp(spread))


def attribute(
    name: str, values: NDArray[Any], answer: NDArray[np.bool_], truth: NDArray[np.bool_] | None,
    score: NDArray[np.float64] | None = None,
) -> Attribute:  # fmt: skip
    """One attribute's groups against the largest of them.

    Args:
        name: of the attribute.
        values: of each row.
        answer: whether the row got the favourable answer.
        truth: whether its true outcome was favourable, when known.
        score: probability of the favourable class, when there is one.
    """
    labels, codes = np.unique(group_names(values), return_inverse=True)
    return _of_codes(name, labels.tolist(), codes, answer, truth, score)


def _of_codes(  # noqa: PLR0917 - calls are just here
    name: str, labels: list[str], codes: NDArray[np.int64], answer: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None, score: NDArray[np.float64] | None,
) -> Attribute:  # fmt: skip
    counts = np.bincount(codes, minlength=len(labels))
    present = [k for k in range(len(labels)) if counts[k]]
    order = sorted(present, key=lambda k: (-counts[k], labels[k]))
    base = codes == order[0]
    found = [
        _group(labels[k], codes == k, base, answer, truth, score, first=place == 0)
        for place, k in enumerate(order)
    ]
    judged = [g.air for g in found[1:] if g.air is not None]
    return Attribute(name, found, min(judged) if judged else None)


def intersections(
    protected: dict[str, NDArray[Any]], answer: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None, score: NDArray[np.float64] | None = None,
) -> list[Attribute]:  # fmt: skip
    """Every pair of protected attributes as one: a model can be even on each and not on both.

    Args:
        protected: values of each row by attribute.
        answer: whether the row got the favourable answer.
        truth: whether its true outcome was favourable, when known.
        score: probability of the favourable class, when there is one.
    """
    coded = {
        name: np.unique(group_names(values), return_inverse=True)
        for name, values in protected.items()
    }
    found = []
    for left, right in itertools.combinations(coded, 2):
        (ours, first), (theirs, second) = coded[left], coded[right]
        labels = [f"{a}, {b}" for a in ours for b in theirs]
        codes = first * len(theirs) + second
        found.append(_of_codes(f"{left} and {right}", labels, codes, answer, truth, score))
    return found


def _group(  # noqa: PLR0917 - one call, just above
    name: str, rows: NDArray[np.bool_], base: NDArray[np.bool_], answer: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None, score: NDArray[np.float64] | None, *, first: bool,
) -> Group:  # fmt: skip
    from scipy.stats import fisher_exact

    n, a = int(rows.sum()), int(answer[rows].sum())
    m, c = int(base.sum()), int(answer[base].sum())
    if n < SMALLEST:
        return Group(name, n, a, None, None, None, None, None, None, None, "too few rows")
    rate, other = a / n, c / m
    if first:
        return Group(name, n, a, rate, 1.0, None, 0.0, None, None, None, "reference")
    air = rate / other if other else None
    p = float(fisher_exact([[a, n - a], [c, m - c]]).pvalue)
    gaps = (None, None) if truth is None else (
        _gap(rows, base, answer, truth), _gap(rows, base, answer, ~truth),
    )  # fmt: skip
    distance = None if score is None else mean_difference(score[rows], score[base])
    return Group(
        name, n, a, rate, air, air_interval(a, n, c, m), rate - other, gaps[0], gaps[1], p,
        _status(air, p, gaps, distance), distance,
    )  # fmt: skip


def _status(
    air: float | None, p: float, gaps: tuple[float | None, float | None], distance: float | None
) -> Status:
    """The worst of what the figures say."""
    far = 0.0 if distance is None else abs(distance)
    low = air is not None and air < AIR_FLAG
    if (low and p < 0.05) or far >= SMD_FLAG:
        return "flag"
    watched = (air is not None and air < AIR_WATCH) or far >= SMD_WATCH
    return "watch" if watched or any(g is not None and abs(g) > GAP_FLAG for g in gaps) else "ok"


def mean_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    """Difference of two means in standard deviations pooled over both; None without any spread.

    >>> round(mean_difference(np.array([2.0, 4.0]), np.array([1.0, 3.0])), 4)
    0.7071
    """
    n, m = len(ours), len(theirs)
    squares = (n - 1) * ours.var(ddof=1) + (m - 1) * theirs.var(ddof=1)
    pooled = float(np.sqrt(squares / (n + m - 2)))
    return float(ours.mean() - theirs.mean()) / pooled if pooled else None


def _gap(
    rows: NDArray[np.bool_], base: NDArray[np.bool_], answer: NDArray[np.bool_],
    among: NDArray[np.bool_],
) -> float | None:  # fmt: skip
    left, right = rows & among, base & among
    if left.sum() < SMALLEST or right.sum() < SMALLEST:
        return None
    return float(answer[left].mean() - answer[right].mean())
