"""Feature and output schemas: what a request carries and what a model answers.

A schema is data: it is read from rule tables, datasets, packages and releases, and everything that
depends on it (decoders, generated code, model matrices) is built from it at load time.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from compiler.errors import AppError

FeatureType = Literal[
    "int", "float", "float32", "decimal", "bool", "string", "enum", "date", "timestamp"
]
Task = Literal["classification", "regression", "clustering"]

CONTEXT_PREFIX = "context."


class SchemaError(AppError):
    """The feature schema contradicts itself or another one."""

    code = "schema.invalid"


class Feature(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One input of a decision.

    Attributes:
        type: domain in which rules see the value; ``int`` is int64, ``float`` is float64,
            ``float32`` rounds value and literal, ``decimal`` is an exact scaled int64.
        values: allowed words of an ``enum``, in order; their index is the category code.
        scale: digits after the point of a ``decimal``.
        nullable: absent and null are allowed and mean MISSING.
        min: smallest allowed value, inclusive.
        max: largest allowed value, inclusive.
        default: value taken when the request has none; applied before rules and model.
        unit: for people, such as ``USD`` or ``months``.
        description: for people.
        sensitive: encrypted in the audit record.
        protected: a protected attribute or a close proxy: never in a rule, out of training.
    """

    type: FeatureType
    values: tuple[str, ...] = ()
    scale: int = 0
    nullable: bool = False
    min: float | int | str | None = None
    max: float | int | str | None = None
    default: bool | float | int | str | None = None
    unit: str = ""
    description: str = ""
    sensitive: bool = False
    protected: bool = False


FeatureMap = dict[str, Feature]
"""Ordered mapping from name to feature. Names match ``[A-Za-z_][A-Za-z0-9_]*``; a feature of the
request's ``context`` is written ``context.NAME``."""


class OutputSchema(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every model of an endpoint answers.

    Attributes:
        task: kind of model.
        classes: labels in the order of the probability columns; empty unless classification.
    """

    task: Task
    classes: tuple[str, ...] = ()


def merge_features(parts: list[tuple[str, FeatureMap]]) -> FeatureMap:
    """Union of several feature maps, in order of first appearance.

    Args:
        parts: (where it comes from, features) pairs; the first is usually the rule table.

    Raises:
        SchemaError: two parts declare one name with different type, values or scale.
    """
    merged: FeatureMap = {}
    origin: dict[str, str] = {}
    for where, features in parts:
        for name, feature in features.items():
            known = merged.get(name)
            if known is None:
                merged[name], origin[name] = feature, where
                continue
            same = (known.type, known.values, known.scale) == (
                feature.type,
                feature.values,
                feature.scale,
            )
            if not same:
                raise SchemaError(
                    f"expected one declaration of feature {name!r}, got {known.type} in "
                    f"{origin[name]} and {feature.type} in {where}",
                    at=name,
                    hint="rename one of them or make both the same type and values",
                )
            if feature.nullable != known.nullable or feature.protected != known.protected:
                merged[name] = msgspec.structs.replace(
                    known,
                    nullable=known.nullable and feature.nullable,
                    protected=known.protected or feature.protected,
                )
    return merged
