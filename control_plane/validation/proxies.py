"""Which features stand for a protected attribute: how well each tells its groups apart.

A model that never sees an attribute can still follow it through a feature that goes along with it.
The screen looks at one feature at a time; what several of them say together it does not see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from control_plane.datasets.quality import rank_auc
from control_plane.validation.fairness import SMALLEST, group_names

REVIEW_AUC = 0.70
ROWS = 50_000
"""Rows looked at, spread evenly over the data: enough for two digits."""
BINS = 10


class Proxy(Struct, frozen=True):
    """What one feature says about one protected attribute.

    Attributes:
        group: the group that it tells apart best.
        auc: area under the ROC curve of telling that group from all others, 0.5 to 1.
        information: mutual information of feature and attribute as a share of the attribute's
            entropy, 0 to 1; numbers in tenths of the rows.
        review: somebody should look whether the feature may be used.
    """

    attribute: str
    feature: str
    group: str
    auc: float
    information: float
    review: bool


def screen(protected: dict[str, NDArray[Any]], features: dict[str, NDArray[Any]]) -> list[Proxy]:
    """Every feature against every protected attribute, the clearest first.

    Args:
        protected: values of each row by attribute.
        features: values of each row by feature that the model reads.

    Cost: a sort of each feature's rows per group, over at most ``ROWS`` rows.
    """
    found = []
    for attribute, values in protected.items():
        chosen = _evenly(len(values))
        labels, codes = np.unique(group_names(values[chosen]), return_inverse=True)
        counts = np.bincount(codes, minlength=len(labels))
        groups = [k for k in range(len(labels)) if SMALLEST <= counts[k] <= len(codes) - SMALLEST]
        for feature, column in features.items() if groups else ():
            cells, score = _cells(column[chosen]), _score(column[chosen])
            best = max((_auc(score, cells, codes == k), str(labels[k])) for k in groups)
            share = information(cells, codes)
            found.append(Proxy(attribute, feature, best[1], best[0], share, best[0] > REVIEW_AUC))
    return sorted(found, key=lambda each: (-each.auc, each.attribute, each.feature))


def _evenly(rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows - 1, min(rows, ROWS)).astype(np.int64))


def _is_number(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "fiub"


def _score(column: NDArray[Any]) -> NDArray[np.float64] | None:
    """Numbers as they are, MISSING in the middle; None for words, which have no order."""
    if not _is_number(column):
        return None
    numbers = column.astype(np.float64)
    present = numbers[~np.isnan(numbers)]
    return np.where(np.isnan(numbers), np.median(present) if len(present) else 0.0, numbers)


def _auc(
    score: NDArray[np.float64] | None, cells: NDArray[np.int64], member: NDArray[np.bool_]
) -> float:
    """How well the feature tells members from others.

    Words are ordered by their share of members, of the other half of the rows, so that many rare
    words do not know each row by heart.
    """
    if score is not None:
        area = rank_auc(score, member)
        return max(area, 1 - area)
    halves = np.arange(len(cells)) % 2 == 0
    ordered = np.empty(len(cells))
    for half in (halves, ~halves):
        size = np.bincount(cells[~half], minlength=cells.max() + 1)
        inside = np.bincount(cells[~half], weights=member[~half], minlength=len(size))
        rate = (inside + member.mean()) / (size + 1)
        ordered[half] = rate[cells[half]]
    return max(rank_auc(ordered, member), 0.5)


def _cells(column: NDArray[Any]) -> NDArray[np.int64]:
    """A cell for each row: tenths of the numbers, words that are frequent enough, MISSING."""
    if _is_number(column):
        numbers = column.astype(np.float64)
        present = numbers[~np.isnan(numbers)]
        steps = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, steps)) if len(present) else np.empty(0)
        places = np.searchsorted(edges, numbers, side="left")
        return np.where(np.isnan(numbers), len(edges) + 1, places).astype(np.int64)
    names = np.array(["missing" if v is None else str(v) for v in column.tolist()])
    words, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    rare = counts < SMALLEST
    codes = np.where(rare[codes], len(words), codes)
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def information(cells: NDArray[np.int64], codes: NDArray[np.int64]) -> float:
    """Mutual information of two groupings over the entropy of the second, 0 to 1.

    >>> information(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    1.0
    """
    joint = np.zeros((int(cells.max()) + 1, int(codes.max()) + 1))
    np.add.at(joint, (cells, codes), 1)
    whole = _entropy(joint.sum(axis=0))
    if not whole:
        return 0.0
    shared = whole + _entropy(joint.sum(axis=1)) - _entropy(joint.ravel())
    return float(min(1.0, max(0.0, shared / whole)))


def _entropy(counts: NDArray[np.float64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())
