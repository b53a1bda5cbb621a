"""One schema for two tables: the requests that both accept, and what the schemas disagree on."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from compiler.rules import domain
from compiler.schema import Feature, FeatureMap

_SAID = ("type", "values", "scale", "nullable", "min", "max", "default")


def schema_changes(old: FeatureMap, new: FeatureMap) -> tuple[str, ...]:
    """What the schemas say differently of a feature, one sentence each, but for units and texts."""
    found = [f"{name} is only in the old schema" for name in old if name not in new]
    found += [f"{name} is only in the new schema" for name in new if name not in old]
    for name, feature in old.items():
        other = new.get(name)
        if other is None:
            continue
        for word in _SAID:
            before, after = getattr(feature, word), getattr(other, word)
            if before != after:
                found.append(f"{name}: {word} was {_shown(before)}, is {_shown(after)}")
    return tuple(found)


def _shown(value: Any) -> str:
    return "not given" if value is None or value == () else str(value)


def comparable(old: FeatureMap, new: FeatureMap) -> bool:
    """Whether values of every shared feature mean the same to both."""
    shared = [(old[name], new[name]) for name in old if name in new]
    return all(each.type == other.type and each.scale == other.scale for each, other in shared)


def joint_scope(old: FeatureMap, new: FeatureMap) -> FeatureMap:
    """Features of the requests that both tables accept."""
    return {
        name: _meet(old[name], new[name]) if name in old and name in new else feature
        for name, feature in {**old, **new}.items()
    }


def _meet(one: Feature, other: Feature) -> Feature:
    words = tuple(word for word in one.values if word in other.values)
    return replace(
        one,
        values=words,
        nullable=one.nullable and other.nullable,
        default=one.default if one.default is not None else other.default,
        min=_bound(one, other, "min"),
        max=_bound(one, other, "max"),
    )


def _bound(one: Feature, other: Feature, word: str) -> Any:
    """The stricter of two bounds."""
    given = [getattr(each, word) for each in (one, other) if getattr(each, word) is not None]
    if not given:
        return None
    pick = max if word == "min" else min
    return pick(given, key=lambda value: domain.read(one, value))
