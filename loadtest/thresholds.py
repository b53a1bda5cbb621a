"""Thresholds as k6 users write them, judged on certified figures.

    p99<25ms   p(99.9) < 80   err<0.1%   goodput>=99%   rps>4900   avg<3ms   max<1s
    p99{endpoint=credit}<10ms

A percentile without a unit is in milliseconds, as in k6. A percentile holds only when its certified
bound holds; an upper limit on errors holds only on what was measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loadtest.certify import certify, samples_needed
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    import numpy as np

    from loadtest.statistics import Figures

_PATTERN = re.compile(
    r"^\s*(?P<name>[a-z_]+|p\(?[0-9.]+\)?)\s*(?:\{\s*endpoint\s*[=:]\s*(?P<tag>[^}]+?)\s*\})?\s*"
    r"(?P<op><=|>=|<|>)\s*(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<unit>us|ms|s|%|/s)?\s*$"
)
_PERCENTILE = re.compile(r"^p\(?(?P<number>[0-9]*\.?[0-9]+)\)?$")
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}
_SHARES = {"err", "errors", "rate", "goodput", "checks"}
_METRICS = "pN, avg, max (times), err, goodput (shares), rps, good_rps (per second)"
Verdict = Literal["pass", "fail", "unknown"]


class Threshold(Struct, frozen=True):
    """One parsed threshold; times in microseconds, shares from 0 to 1."""

    text: str
    metric: str
    op: str
    limit: float
    percentile: float = 0.0
    endpoint: str = ""


class Judgement(Struct, frozen=True):
    """A threshold against a run.

    Attributes:
        text: as written.
        verdict: ``unknown`` when the samples cannot certify it.
        measured: the plain figure, in the threshold's own measure.
        judged: the figure it was judged by: the certified bound of a percentile.
        why: one sentence when not passed.
    """

    text: str
    verdict: Verdict
    measured: float | None
    judged: float | None
    why: str = ""


def parse_threshold(text: str) -> Threshold:
    """Read one threshold.

    >>> parse_threshold("p99.9 < 25ms").limit
    25000.0

    Raises:
        LoadTestError: not of that form, an unknown figure or a unit that does not fit.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise LoadTestError(
            f"expected FIGURE OP NUMBER such as 'p99<25ms', got {text!r}",
            at="--threshold",
            hint=f"figures: {_METRICS}",
        )
    name, op, unit = match["name"], match["op"], match["unit"] or ""
    number, tag = float(match["number"]), match["tag"] or ""
    found = _PERCENTILE.match(name)
    if found:
        percentile = float(found["number"]) / 100
        if not 0 < percentile < 1:
            raise LoadTestError(
                f"expected a percentile between 0 and 100, got {name}", at="--threshold"
            )
        return Threshold(text, "p", op, number * _time(unit, text), round(percentile, 9), tag)
    if name in {"avg", "max"}:
        return Threshold(text, name, op, number * _time(unit, text), 0.0, tag)
    if name in _SHARES and unit in {"", "%"}:
        metric = "goodput" if name in {"goodput", "checks"} else "err"
        return Threshold(text, metric, op, number / 100 if unit else number, 0.0, tag)
    if name in {"rps", "good_rps"} and unit in {"", "/s"}:
        return Threshold(text, name, op, number, 0.0, tag)
    raise LoadTestError(
        f"no figure {name!r} with unit {unit or 'none'!r} in {text!r}",
        at="--threshold",
        hint=f"figures: {_METRICS}",
    )


def _time(unit: str, text: str) -> float:
    if unit and unit not in _TIMES:
        raise LoadTestError(f"expected us, ms or s, got {unit!r} in {text!r}", at="--threshold")
    return _TIMES[unit or "ms"]


def judge(threshold: Threshold, figures: Figures, corrected: np.ndarray) -> Judgement:
    """Hold a threshold against figures.

    Args:
        threshold: parsed.
        figures: of the whole run, or of the threshold's endpoint.
        corrected: corrected latencies of the same requests, ascending, microseconds.
    """
    if threshold.metric == "p":
        return _judge_percentile(threshold, corrected)
    value = {
        "err": figures.error_share,
        "goodput": figures.goodput_share,
        "rps": figures.completed_rate,
        "good_rps": figures.good_rate,
        "avg": figures.mean_us,
        "max": figures.max_us,
    }[threshold.metric]
    if value is None:
        return Judgement(threshold.text, "fail", None, None, "no answer came")
    holds = _holds(value, threshold)
    return Judgement(
        threshold.text, "pass" if holds else "fail", value, value,
        "" if holds else f"measured {_show(value, threshold)}",
    )  # fmt: skip


def _judge_percentile(threshold: Threshold, corrected: np.ndarray) -> Judgement:
    from loadtest.statistics import nearest_rank

    measured = nearest_rank(corrected, threshold.percentile)
    if measured is None:
        return Judgement(threshold.text, "fail", None, None, "no answer came")
    bound = certify(corrected, threshold.percentile).value
    if not _holds(measured, threshold):
        return Judgement(
            threshold.text, "fail", measured, bound, f"measured {_show(measured, threshold)}"
        )
    if bound is None:
        needed = samples_needed(threshold.percentile)
        why = f"not certifiable: {len(corrected)} samples, need {needed}"
        return Judgement(threshold.text, "unknown", measured, None, why)
    if threshold.op in {"<", "<="} and not _holds(bound, threshold):
        why = f"measured {_show(measured, threshold)}, certified only {_show(bound, threshold)}"
        return Judgement(threshold.text, "fail", measured, bound, why)
    return Judgement(threshold.text, "pass", measured, bound)


def _holds(value: float, threshold: Threshold) -> bool:
    limit = threshold.limit
    return {
        "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit,
    }[threshold.op]  # fmt: skip


def _show(value: float, threshold: Threshold) -> str:
    if threshold.metric in {"p", "avg", "max"}:
        return f"{value / 1e3:.3f} ms"
    return f"{value:.3%}" if threshold.metric in {"err", "goodput"} else f"{value:.1f}/s"
