"""Whole columns against the schema: which rows a strict endpoint would refuse, and why.

The one-row path is checked by the typed decoder; files and Arrow batches come this way. The
answers are the same: MISSING where it is not allowed, an unknown word of an enum, a number out of
its range, not finite, or not whole for an integer feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.models.values import Coded, is_categorical, to_number
from compiler.schema import Feature, FeatureMap

INT64 = 2.0**63


def check_rows(columns: Mapping[str, Any], rows: int, features: FeatureMap) -> NDArray[np.object_]:
    """For each row its first problem as ``code: words``, else ``None``.

    Args:
        columns: values by feature name; an absent column is all MISSING.
        rows: number of rows.
        features: what the rows must fit.
    """
    problems = np.full(rows, None, object)
    for name, feature in features.items():
        values = columns.get(name)
        if values is None:
            if not feature.nullable and feature.default is None:
                _note(problems, np.ones(rows, bool), f"features.missing: expected {name}, got none")
            continue
        if is_categorical(feature):
            _check_words(problems, name, feature, values)
        elif feature.type not in ("date", "timestamp"):
            _check_numbers(problems, name, feature, values)
    return problems


def _note(problems: NDArray[np.object_], hit: NDArray[np.bool_], words: str) -> None:
    if hit.any():
        free = np.asarray([problem is None for problem in problems.tolist()], bool)
        problems[hit & free] = words


def _check_words(problems: NDArray[np.object_], name: str, feature: Feature, values: Any) -> None:
    if isinstance(values, Coded):
        missing = values.codes < 0
        allowed = np.asarray([w in feature.values for w in values.words] + [True])
        known = allowed[values.codes] if feature.type == "enum" else np.ones(len(values), bool)
    else:
        listed = list(values)
        missing = np.asarray([_absent(value) for value in listed], bool)
        wrong = np.asarray([not isinstance(v, str) for v in listed], bool) & ~missing
        _note(problems, wrong, f"features.type: expected text for {name}")
        words = set(feature.values)
        known = np.asarray(
            [feature.type != "enum" or not isinstance(v, str) or v in words for v in listed], bool
        )
    if not feature.nullable and feature.default is None:
        _note(problems, missing, f"features.missing: expected {name}, got none")
    for row in np.flatnonzero(~known & ~missing).tolist():
        if problems[row] is None:
            value = values.words[values.codes[row]] if isinstance(values, Coded) else listed[row]
            problems[row] = (
                f"features.enum: expected one of the {len(feature.values)} words of {name}, "
                f"got {repr(value)[:80]}"
            )


def _check_numbers(problems: NDArray[np.object_], name: str, feature: Feature, values: Any) -> None:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
    else:
        kinds = (int, float, Decimal, np.number, np.bool_)
        wrong = np.asarray([not (v is None or isinstance(v, kinds)) for v in values], bool)
        _note(problems, wrong, f"features.type: expected a number for {name}")
        numbers = np.asarray(
            [
                to_number(name, None if bad else v)
                for v, bad in zip(values, wrong.tolist(), strict=True)
            ]
        )
        numbers = numbers.astype(np.float64)
        numbers[wrong] = 0.0
    missing = np.isnan(numbers)
    if not feature.nullable and feature.default is None:
        _note(problems, missing, f"features.missing: expected {name}, got none")
    _note(problems, np.isinf(numbers), f"features.range: expected a finite number for {name}")
    with np.errstate(invalid="ignore"):
        if feature.type == "int":
            broken = ~missing & ((numbers != np.floor(numbers)) | (np.abs(numbers) > INT64))
            _note(problems, broken, f"features.type: expected a whole number for {name}")
        for bound, outside in ((feature.min, np.less), (feature.max, np.greater)):
            if isinstance(bound, int | float):
                _note(
                    problems,
                    outside(numbers, float(bound)),
                    f"features.range: expected {name} within [{feature.min}, {feature.max}]",
                )


def _absent(value: Any) -> bool:
    return value is None or value != value
