"""Is B better than A? The unit is the run, not the request.

Requests of one run share its luck (memory layout, neighbours, temperature), so thousands of them
are still one observation. Runs of both sides are resampled with replacement and the ratio of their
medians is bootstrapped; its 95% interval is held against a margin of equivalence.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest.summary import Summary

MARGIN = 0.03
LEAST_RUNS = 3
_DRAWS = 10_000
Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


class Figure(Struct, frozen=True):
    """One figure of both sides.

    Attributes:
        name: what it is.
        a, b: medians over the runs.
        ratio: b over a.
        low, high: 95% interval of the ratio.
        verdict: of b against a, lower being better unless ``higher_is_better``.
        more_runs: runs per side that would probably decide an inconclusive one.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    verdict: Verdict
    more_runs: int = 0


class Comparison(Struct, frozen=True):
    """All figures, and the overall verdict: the worst of them that decides anything."""

    figures: tuple[Figure, ...]
    verdict: Verdict
    runs_a: int
    runs_b: int
    margin: float
    notes: tuple[str, ...] = ()
    format: Literal["interlock/compare/v1"] = "interlock/compare/v1"


def compare_values(
    name: str,
    a: Sequence[float],
    b: Sequence[float],
    *,
    margin: float = MARGIN,
    higher_is_better: bool = False,
    seed: int = 1,
) -> Figure:
    """Compare one figure, one value per run.

    Raises:
        LoadTestError: a side without a positive value.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(first) or not len(second) or min(first.min(), second.min()) <= 0:
        raise LoadTestError(f"expected positive values of {name} on both sides", at=name)
    rng = np.random.default_rng([seed, 4])
    drawn_a = np.median(rng.choice(first, (_DRAWS, len(first))), axis=1)
    drawn_b = np.median(rng.choice(second, (_DRAWS, len(second))), axis=1)
    low, high = np.quantile(drawn_b / drawn_a, (0.025, 0.975))
    middle_a, middle_b = float(np.median(first)), float(np.median(second))
    verdict = _judge(float(low), float(high), margin, higher_is_better=higher_is_better)
    few = min(len(first), len(second))
    if few < LEAST_RUNS:
        verdict = "inconclusive"
    more = 0
    if verdict == "inconclusive":
        width = max((float(high) - float(low)) / 2, 1e-9)
        # an interval narrows with the root of the runs; aim at one margin
        more = max(LEAST_RUNS - few, math.ceil(few * (width / margin) ** 2) - few, 1)
    return Figure(
        name, middle_a, middle_b, middle_b / middle_a, float(low), float(high), verdict, more
    )


def _judge(low: float, high: float, margin: float, *, higher_is_better: bool) -> Verdict:
    if low >= 1 - margin and high <= 1 + margin:
        return "equivalent"
    if high < 1:
        return "worse" if higher_is_better else "better"
    if low > 1:
        return "better" if higher_is_better else "worse"
    return "inconclusive"


def _percentile(summary: Summary, share: float) -> float:
    found = next(p.corrected for p in summary.figures.percentiles if p.percentile == share)
    return found or 0.0


FIGURES: tuple[tuple[str, Callable[[Summary], float], bool], ...] = (
    ("p50", lambda s: _percentile(s, 0.5), False),
    ("p99", lambda s: _percentile(s, 0.99), False),
    ("good answers/s", lambda s: s.figures.good_rate, True),
    ("router us/request", lambda s: s.server.router_us if s.server else 0.0, False),
)


def compare_runs(
    a: Sequence[Summary], b: Sequence[Summary], *, margin: float = MARGIN, force: bool = False
) -> Comparison:
    """Compare two sets of runs.

    Args:
        a: runs of the baseline.
        b: runs of the candidate.
        margin: ratios within it count as equal.
        force: compare although machines or plans differ.

    Raises:
        LoadTestError: runs that cannot be compared.
    """
    if not a or not b:
        raise LoadTestError("expected at least one run on each side", at="compare")
    prints = {(s.environment.cpu, s.environment.cores, s.environment.plan) for s in (*a, *b)}
    notes = []
    if len(prints) > 1:
        if not force:
            raise LoadTestError(
                "the runs differ in machine or plan", at="compare",
                hint="repeat both sides with the same flags on one machine, or add --force",
            )  # fmt: skip
        notes.append("machines or plans differ")
    invalid = sum(not s.valid for s in (*a, *b))
    if invalid:
        notes.append(f"{invalid} of {len(a) + len(b)} runs were not valid")
    figures = []
    for name, read, higher in FIGURES:
        values_a, values_b = [read(s) for s in a], [read(s) for s in b]
        if min((*values_a, *values_b)) > 0:
            figures.append(
                compare_values(name, values_a, values_b, margin=margin, higher_is_better=higher)
            )
    return Comparison(
        tuple(figures), overall([f.verdict for f in figures]), len(a), len(b), margin, tuple(notes)
    )


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Worse wins over inconclusive, that over better, that over equivalent."""
    for verdict in ("worse", "inconclusive", "better"):
        if verdict in verdicts:
            return verdict
    return "equivalent" if verdicts else "inconclusive"
