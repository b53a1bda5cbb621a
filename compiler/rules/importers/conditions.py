"""Conditions of the JSON form as plain data, for importers to build with."""

from __future__ import annotations

from typing import Any

Condition = dict[str, Any]
TRUE: Condition = {"combinator": "and", "rules": [], "allowEmpty": True}
FALSE: Condition = {"combinator": "or", "rules": [], "allowEmpty": False}


def constant(value: bool) -> Condition:
    """TRUE or FALSE."""
    return TRUE if value else FALSE


def is_constant(condition: Condition) -> bool | None:
    """The value of a constant, else None."""
    if condition.get("rules") == [] and not condition.get("not"):
        return bool(condition["allowEmpty"])
    return None


def leaf(field: str, operator: str, value: Any = None, **more: Any) -> Condition:
    """One test; presence operators take no value."""
    found: Condition = {"field": field, "operator": operator}
    if value is not None:
        found["value"] = value
    return {**found, **more}


def both(*parts: Condition) -> Condition:
    """AND, constants taken out."""
    return _group("and", parts, decides=False)


def either(*parts: Condition) -> Condition:
    """OR, constants taken out."""
    return _group("or", parts, decides=True)


def _group(word: str, parts: tuple[Condition, ...], *, decides: bool) -> Condition:
    values = [is_constant(part) for part in parts]
    if decides in values:
        return constant(decides)
    kept = [part for part, value in zip(parts, values, strict=True) if value is None]
    if not kept:
        return constant(not decides)
    return kept[0] if len(kept) == 1 else {"combinator": word, "rules": kept}


def negated(condition: Condition) -> Condition:
    """NOT."""
    value = is_constant(condition)
    if value is not None:
        return constant(not value)
    if condition.get("not") and "rules" in condition:
        return {key: part for key, part in condition.items() if key != "not"}
    if "rules" in condition:
        return {**condition, "not": True}
    return {"combinator": "and", "rules": [condition], "not": True}
