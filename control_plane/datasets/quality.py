"""Checks that explain themselves: what in the data would make a model wrong or worthless."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.schema import Task
from control_plane.datasets.infer import ColumnScan
from control_plane.datasets.schemas import Finding

EXACT_FLOAT32 = 2**24
"""Whole numbers up to here are exact in float32."""
LEAK_ERROR = 0.985
LEAK_WARNING = 0.90


def column_findings(scan: ColumnScan, *, target: bool) -> list[Finding]:
    """What one column's values say by themselves."""
    found: list[Finding] = []

    def add(code: str, level: Any, message: str, hint: str = "") -> None:
        found.append(Finding(code, level, scan.name, message, hint))

    if not scan.present:
        add("column.empty", "warning", "no row has a value", "it is left out of training")
        return found
    share = scan.missing / scan.rows
    if share > 0.5 and not target:
        add("column.mostly_missing", "warning", f"{share:.0%} of the rows have no value",
            "a model would mostly learn who fills in the form")  # fmt: skip
    if scan.distinct == 1 and not target:
        add("column.constant", "warning", "every row has the same value", "it explains nothing")
    kind = scan.type()
    if kind in ("enum", "string") and scan.numeric >= 0.9 * scan.present:
        odd = [value for value in scan.values if not _is_number(value)][:3]
        examples = ", ".join(repr(value) for value in odd) or "some values"
        add("column.mixed_types", "warning",
            f"{scan.numeric} of {scan.present} values are numbers, but not {examples}",
            "declare these words as missing, or correct them in the source")  # fmt: skip
    if scan.formulas:
        add("column.formula", "warning",
            f"{scan.formulas} values begin with = or @ and a spreadsheet would run them",
            "they are kept as plain text and never evaluated")  # fmt: skip
    if not target and kind == "string" and scan.is_identifier():
        add("column.identifier", "warning", "nearly every row has a value of its own",
            "it is left out of training: a model would learn single rows by heart")  # fmt: skip
    elif not target and kind == "string":
        add("column.many_categories", "note", "more different texts than a category can have",
            "it is left out of training")  # fmt: skip
    if not target and kind == "int" and scan.is_identifier() and _counts_up(scan):
        add("column.row_number", "warning", "it looks like a row number",
            "name it in `ignore` unless it means something")  # fmt: skip
    biggest = max(abs(scan.low or 0.0), abs(scan.high or 0.0))
    if kind == "int" and biggest > EXACT_FLOAT32:
        add("column.float32", "note", f"whole numbers up to {biggest:.0f} are rounded to float32",
            "models see the rounded value, in training and in serving alike")  # fmt: skip
    return found


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _counts_up(scan: ColumnScan) -> bool:
    if scan.low is None or scan.high is None or scan.missing:
        return False
    return scan.high - scan.low == scan.rows - 1


def leak_findings(
    columns: dict[str, NDArray[Any]], target: NDArray[Any], task: Task
) -> list[Finding]:
    """Columns that know the answer too well to have been there before it.

    Args:
        columns: a sample of the rows: float arrays with NaN, or object arrays of words with None.
        target: words (classification) or floats (regression), same rows, none missing.
        task: classification or regression.
    """
    found = []
    for name, values in columns.items():
        strength = (
            _class_strength(values, target)
            if task == "classification"
            else _value_strength(values, target)
        )
        if strength < LEAK_WARNING:
            continue
        level: Any = "error" if strength >= LEAK_ERROR else "warning"
        measure = "AUC" if task == "classification" else "rank correlation"
        found.append(
            Finding(
                "column.leak",
                level,
                name,
                f"this column alone predicts the target with {measure} {strength:.3f}",
                "was it known before the decision? If not, name it in `ignore`",
            )
        )
    return found


def _class_strength(values: NDArray[Any], target: NDArray[Any]) -> float:
    """Best one-against-rest AUC of a single column."""
    best = 0.5
    for label in np.unique(target)[:20]:
        answer = target == label
        score = values if values.dtype.kind == "f" else _out_of_fold_rate(values, answer)
        best = max(best, *_both_ways(rank_auc(score, answer)))
    return best


def _both_ways(auc: float) -> tuple[float, float]:
    return auc, 1 - auc


def _value_strength(values: NDArray[Any], target: NDArray[Any]) -> float:
    if values.dtype.kind != "f":
        values = _out_of_fold_rate(values, target)
    present = ~np.isnan(values)
    if present.sum() < 20:
        return 0.0
    a, b = _ranks(values[present]), _ranks(target[present])
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(abs(np.corrcoef(a, b)[0, 1]))


def _out_of_fold_rate(words: NDArray[Any], answer: NDArray[Any]) -> NDArray[np.float64]:
    """Each row's mean answer among rows of the other half with the same word.

    From the other half, because a word that occurs once would otherwise know its own answer.
    """
    keys = np.array([str(word) for word in words])
    _, codes = np.unique(keys, return_inverse=True)
    half = np.arange(len(codes)) % 2 == 0
    rates = np.full(len(codes), float(np.mean(answer)))
    for fold in (half, ~half):
        counts = np.bincount(codes[~fold], minlength=codes.max() + 1)
        sums = np.bincount(codes[~fold], weights=answer[~fold], minlength=codes.max() + 1)
        known = counts[codes] > 0
        mean = np.divide(sums, counts, out=np.zeros(len(counts)), where=counts > 0)
        rates[fold & known] = mean[codes][fold & known]
    return rates


def rank_auc(score: NDArray[Any], answer: NDArray[Any]) -> float:
    """Area under the ROC curve by ranks, ties counted half; MISSING scores are left out.

    >>> rank_auc(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True]))
    1.0
    """
    present = ~np.isnan(score)
    score, answer = score[present], answer[present].astype(bool)
    positive, negative = int(answer.sum()), int((~answer).sum())
    if not positive or not negative:
        return 0.5
    ranks = _ranks(score)
    return float((ranks[answer].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return mean
