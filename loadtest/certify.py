"""Certified percentiles: how many samples a percentile needs, and the bound they support.

The rule is the early stopping of MLPerf LoadGen (inference_policies, "Early stopping"; tolerance
d = 0): with ``over`` samples at or above a value out of ``n``, the share of slow requests is below
1 - p at confidence c when a binomial with that share would show so few at most 1 - c of the time.
The value certified is the ``over``-th largest sample for the largest ``over >= 1`` that passes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from msgspec import Struct

from loadtest.errors import LoadTestError

CONFIDENCE = 0.99


class Bound(Struct, frozen=True):
    """What n samples say about one percentile.

    Attributes:
        needed: fewest samples that certify anything.
        over: samples allowed at or above the certified value; 0 when not certifiable.
        value: the certified upper bound in the samples' unit, or None.
    """

    needed: int
    over: int
    value: float | None


def binomial_cdf(k: int, n: int, share: float) -> float:
    """P(X <= k) for X binomial(n, share), by the regularised incomplete beta function.

    >>> round(binomial_cdf(1, 2, 0.5), 6)
    0.75

    Source: DLMF 8.17.5; the continued fraction is DLMF 8.17.22.
    """
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return _beta_regularised(n - k, k + 1, 1.0 - share)


def _beta_regularised(a: float, b: float, x: float) -> float:
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function by the modified Lentz method.

    Cost: of the order of sqrt(max(a, b)) terms.
    """
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1_000_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            return value
    raise LoadTestError(f"the incomplete beta function did not settle for a={a}, b={b}, x={x}")


def certifies(n: int, over: int, percentile: float, confidence: float = CONFIDENCE) -> bool:
    """True when ``over`` slow samples of ``n`` certify the percentile (a share below 1)."""
    return binomial_cdf(over, n, 1.0 - percentile) <= 1.0 - confidence


@lru_cache(maxsize=256)
def samples_needed(percentile: float, over: int = 1, confidence: float = CONFIDENCE) -> int:
    """Fewest samples that certify a percentile with ``over`` slow ones among them.

    >>> samples_needed(0.99)
    662
    """
    low, high = over, over + 1
    while not certifies(high, over, percentile, confidence):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if certifies(middle, over, percentile, confidence):
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=4096)
def most_over(n: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """Most slow samples of ``n`` that still certify the percentile; 0 when even one is too many."""
    if n < 2 or not certifies(n, 1, percentile, confidence):
        return 0
    low, high = 1, int(n * (1.0 - percentile)) + 2
    while high - low > 1:
        middle = (low + high) // 2
        if certifies(n, middle, percentile, confidence):
            low = middle
        else:
            high = middle
    return low


def certify(ordered: np.ndarray, percentile: float, confidence: float = CONFIDENCE) -> Bound:
    """Upper bound of a percentile that the samples support.

    Args:
        ordered: samples, ascending; any unit.
        percentile: share below 1, such as 0.99.
        confidence: chance that the bound holds.
    """
    over = most_over(len(ordered), percentile, confidence)
    value = float(ordered[len(ordered) - over]) if over else None
    return Bound(samples_needed(percentile, 1, confidence), over, value)
