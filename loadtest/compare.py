"""Is B better than A? The unit is the run, not the request.

Requests of one run share its luck (memory layout, neighbours, temperature), so thousands of them
are still one observation. Runs of both sides are resampled with replacement and the ratio of their
medians is bootstrapped; its interval is held against a margin of equivalence. Runs that were made
in turn are resampled as pairs, and the median of the pairs' ratios is what is bootstrapped: what
slows the machine down for a while then hits both. The intervals of all figures of a comparison hold
together with 95% (Bonferroni), so that more figures do not mean more false alarms.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import Struct

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest.knee import Knee
    from loadtest.summary import Summary

MARGIN = 0.03
LEAST_RUNS = 5
CONFIDENCE = 0.95
_DRAWS = 10_000
Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


class Figure(Struct, frozen=True):
    """One figure of both sides.

    Attributes:
        name: what it is.
        a, b: medians over the runs.
        ratio: b over a.
        low, high: interval of the ratio.
        runs_a, runs_b: the figure in each run.
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
    runs_a: tuple[float, ...] = ()
    runs_b: tuple[float, ...] = ()


class Comparison(Struct, frozen=True):
    """All figures, and the overall verdict: the worst of them that decides anything.

    Attributes:
        paired: the k-th runs of both sides were made one after the other.
        kind: what was compared: ``run`` or ``knee``.
    """

    figures: tuple[Figure, ...]
    verdict: Verdict
    runs_a: int
    runs_b: int
    margin: float
    notes: tuple[str, ...] = ()
    paired: bool = False
    kind: Literal["run", "knee"] = "run"
    format: Literal["interlock/compare/v1"] = "interlock/compare/v1"


def compare_values(
    name: str,
    a: Sequence[float],
    b: Sequence[float],
    *,
    margin: float = MARGIN,
    higher_is_better: bool = False,
    paired: bool = False,
    together: int = 1,
    seed: int = 1,
) -> Figure:
    """Compare one figure, one value per run.

    Args:
        name: of the figure.
        a: the baseline's values.
        b: the candidate's.
        margin: ratios within it count as equal.
        higher_is_better: such as rates.
        paired: value k of ``a`` belongs to value k of ``b``.
        together: figures whose intervals have to hold at once.
        seed: of the bootstrap.

    Raises:
        LoadTestError: a side without a positive value, or pairs of which one is missing.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(first) or not len(second) or min(first.min(), second.min()) <= 0:
        raise LoadTestError(f"expected positive values of {name} on both sides", at=name)
    if paired and len(first) != len(second):
        raise LoadTestError(
            f"expected pairs of runs, got {len(first)} against {len(second)}", at=name
        )
    rng = np.random.default_rng([seed, 4])
    if paired:
        ratio = float(np.median(second / first))
        drawn = np.median(rng.choice(second / first, (_DRAWS, len(first))), axis=1)
    else:
        ratio = float(np.median(second) / np.median(first))
        drawn = np.median(rng.choice(second, (_DRAWS, len(second))), axis=1) / np.median(
            rng.choice(first, (_DRAWS, len(first))), axis=1
        )
    outside = (1 - CONFIDENCE) / together / 2
    low, high = np.quantile(drawn, (outside, 1 - outside))
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
        name, float(np.median(first)), float(np.median(second)), ratio, float(low), float(high),
        verdict, more, tuple(first.tolist()), tuple(second.tolist()),
    )  # fmt: skip


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


def _cpu_at_knee(knee: Knee) -> float:
    held = [probe for probe in knee.probes if probe.holds and probe.cpu_us]
    return max(held, key=lambda probe: probe.rate).cpu_us or 0.0 if held else 0.0


FIGURES: tuple[tuple[str, Callable[[Summary], float], bool], ...] = (
    ("p50 us", lambda s: _percentile(s, 0.5), False),
    ("p99 us", lambda s: _percentile(s, 0.99), False),
    ("good answers/s", lambda s: s.figures.good_rate, True),
    ("server CPU us/request", lambda s: (s.server.cpu_us or 0.0) if s.server else 0.0, False),
    ("router us/request", lambda s: s.server.router_us if s.server else 0.0, False),
)
KNEE_FIGURES: tuple[tuple[str, Callable[[Knee], float], bool], ...] = (
    ("knee/s", lambda k: k.rate, True),
    ("server CPU us/request at the knee", _cpu_at_knee, False),
)


def compare_runs(
    a: Sequence[Summary],
    b: Sequence[Summary],
    *,
    margin: float = MARGIN,
    force: bool = False,
    paired: bool = False,
    only: Sequence[str] = (),
) -> Comparison:
    """Compare two sets of runs.

    Args:
        a: runs of the baseline.
        b: runs of the candidate.
        margin: ratios within it count as equal.
        force: compare although machines or plans differ.
        paired: the k-th runs of both sides were made one after the other.
        only: words of which a figure's name holds one; empty for every figure.

    Raises:
        LoadTestError: runs that cannot be compared.
    """
    if not a or not b:
        raise LoadTestError("expected at least one run on each side", at="compare")
    notes = _differences(
        {(s.environment.cpu, s.environment.cores, s.environment.plan) for s in (*a, *b)}, force
    )
    invalid = sum(not s.valid for s in (*a, *b))
    if invalid:
        notes += (f"{invalid} of {len(a) + len(b)} runs were not valid",)
    return _compare(FIGURES, a, b, margin, notes, paired=paired, kind="run", only=only)


def compare_knees(
    a: Sequence[Knee], b: Sequence[Knee], *, margin: float = MARGIN, force: bool = False,
    paired: bool = False, only: Sequence[str] = (),
) -> Comparison:  # fmt: skip
    """Compare two sets of repeated searches; arguments and errors as of :func:`compare_runs`."""
    if not a or not b:
        raise LoadTestError("expected at least one knee on each side", at="compare")
    made = [(k.environment, k.thresholds) for k in (*a, *b)]
    notes = _differences(
        {(e.cpu, e.cores, e.plan, wanted) if e else wanted for e, wanted in made}, force
    )
    loose = sum(not k.confirmed for k in (*a, *b))
    if loose:
        notes += (f"{loose} of {len(a) + len(b)} knees were not confirmed",)
    return _compare(KNEE_FIGURES, a, b, margin, notes, paired=paired, kind="knee", only=only)


def _differences(prints: set[Any], force: bool) -> tuple[str, ...]:
    if len(prints) == 1:
        return ()
    if not force:
        raise LoadTestError(
            "the runs differ in machine or plan", at="compare",
            hint="repeat both sides with the same flags on one machine, or add --force",
        )  # fmt: skip
    return ("machines or plans differ",)


def _compare(
    figures: Sequence[tuple[str, Callable[[Any], float], bool]],
    a: Sequence[Any],
    b: Sequence[Any],
    margin: float,
    notes: tuple[str, ...],
    *,
    paired: bool,
    kind: Literal["run", "knee"],
    only: Sequence[str],
) -> Comparison:
    values = {
        name: ([read(one) for one in a], [read(one) for one in b], higher)
        for name, read, higher in figures
        if not only or any(word in name for word in only)
    }
    known = {name: found for name, found in values.items() if min((*found[0], *found[1])) > 0}
    if not known:
        raise LoadTestError(
            f"expected a figure that both sides have among {', '.join(n for n, *_ in figures)}",
            at="--only" if only else "compare",
        )
    found = tuple(
        compare_values(
            name, first, second, margin=margin, higher_is_better=higher, paired=paired,
            together=len(known),
        )
        for name, (first, second, higher) in known.items()
    )  # fmt: skip
    return Comparison(
        found, overall([f.verdict for f in found]), len(a), len(b), margin, notes, paired, kind
    )


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Worse wins over inconclusive, that over better, that over equivalent."""
    for verdict in ("worse", "inconclusive", "better"):
        if verdict in verdicts:
            return verdict
    return "equivalent" if verdicts else "inconclusive"
