"""Explanations in words: the features that counted most, largest first.

Adverse reasons are the features that pushed away from the favourable class; ties keep the order
of the schema. Features without influence are never named to fill up the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.schema import Feature, FeatureMap
from serving.explain.explainer import Explanation

LIMIT = 4  # what adverse action notices usually name
SMALLEST = 1e-6


def in_words(
    explanation: Explanation,
    values: Mapping[str, Any],
    features: FeatureMap,
    adverse: bool = True,
    limit: int = LIMIT,
) -> tuple[str, ...]:
    """Sentences such as ``duration in month = 48 lowered the log-odds of good by 0.612``.

    Args:
        explanation: what to put into words.
        values: the request's features.
        features: the schema, for descriptions and units.
        adverse: only features that pushed away from the favourable class; else both directions.
        limit: at most this many.
    """
    order = {name: place for place, name in enumerate(features)}
    chosen = [
        (name, amount)
        for name, amount in explanation.phi.items()
        if abs(amount) > SMALLEST and (amount < 0 or not adverse)
    ]
    chosen.sort(key=lambda item: (-abs(item[1]), order.get(item[0], len(order))))
    measure = _measure(explanation)
    return tuple(
        f"{_label(name, features.get(name))} {_value(values.get(name), features.get(name))} "
        f"{'lowered' if amount < 0 else 'raised'} {measure} by {abs(amount):.3f}"
        for name, amount in chosen[:limit]
    )


def _measure(explanation: Explanation) -> str:
    if explanation.space == "margin":
        return f"the log-odds of {explanation.target}"
    if explanation.space == "probability":
        return f"the probability of {explanation.target}"
    return f"the {explanation.space}"


def _label(name: str, feature: Feature | None) -> str:
    if feature is not None and feature.description:
        return feature.description
    return name.replace("_", " ")


def _value(value: Any, feature: Feature | None) -> str:
    if value is None:
        return "(not given)"
    unit = f" {feature.unit}" if feature is not None and feature.unit else ""
    if isinstance(value, float):
        return f"= {value:g}{unit}"
    return f"= {value}{unit}"
