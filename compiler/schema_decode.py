"""Decoders of a request's features: a typed one for the hot path and a slow one that explains.

The typed decoder (:func:`features_struct`) refuses at the first problem without saying much. The
slow reference decoder (:func:`decode_features_slow`) knows everything else: ``3.0`` for an int, the
lenient policy, null for a feature with a default, and all problems at once in words.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from compiler.errors import Problem
from compiler.rules import domain
from compiler.rules.names import suggestion
from compiler.schema import CONTEXT_PREFIX, Feature, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable

Extra = Literal["reject", "ignore"]
_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "float32": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "a text",
    "enum": "a text",
    "date": "a date YYYY-MM-DD",
    "timestamp": "an RFC 3339 time with offset",
}


def own_features(features: FeatureMap, *, context: bool) -> FeatureMap:
    """The features of the request body, or those of its context without their prefix."""
    if not context:
        return {n: f for n, f in features.items() if not n.startswith(CONTEXT_PREFIX)}
    return {
        n.removeprefix(CONTEXT_PREFIX): f
        for n, f in features.items()
        if n.startswith(CONTEXT_PREFIX)
    }


def features_struct(
    features: FeatureMap, *, context: bool = False, extra: Extra = "reject"
) -> type[Struct]:
    """A struct type with one attribute per feature, for ``msgspec.json.Decoder``.

    Attributes are int, float, Decimal, bool, str, date or aware datetime; None is MISSING. Defaults
    are applied. Decoding fails on an unknown key (``extra="reject"``), a wrong type, a value out of
    bounds or outside an enum; :func:`decode_features_slow` then says what is wrong, or knows
    better.

    Args:
        features: all features of the endpoint.
        context: build the struct of the request's context instead of its features.
        extra: what happens to keys that are no features.
    """
    own = own_features(features, context=context)
    required = [(name, _type(f)) for name, f in own.items() if not f.nullable and f.default is None]
    optional = [
        (name, _type(f), domain.read(f, f.default))
        if f.default is not None
        else (name, _type(f) | None, None)
        for name, f in own.items()
        if f.nullable or f.default is not None
    ]
    checks = [(name, check) for name, f in own.items() if (check := _check(f)) is not None]
    return msgspec.defstruct(
        "Context" if context else "Features",
        [*required, *optional],
        namespace={"__post_init__": _post_init(checks)} if checks else None,
        forbid_unknown_fields=extra == "reject",
        kw_only=True,
        gc=False,
    )


def applied_defaults(
    features: FeatureMap, *, context: bool = False
) -> Callable[[bytes], tuple[str, ...]] | None:
    """Function from a received JSON object to the features whose default was applied.

    None when no feature has a default, so that nothing is paid.
    """
    names = [n for n, f in own_features(features, context=context).items() if f.default is not None]
    if not names:
        return None
    keys = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def applied(raw: bytes) -> tuple[str, ...]:
        received = keys.decode(raw)
        return tuple(n for n in names if n not in received or bytes(received[n]) == b"null")

    return applied


class Decoded(NamedTuple):
    """What the slow decoder found.

    Attributes:
        values: by attribute name of the struct; complete only without problems.
        problems: every problem, in schema order.
        counters: under the lenient policy and ``extra="ignore"``: ``features.type:income`` -> 1.
    """

    values: dict[str, Any]
    problems: list[Problem]
    counters: dict[str, int]


def decode_features_slow(
    raw: bytes | dict[str, Any],
    features: FeatureMap,
    *,
    extra: Extra = "reject",
    lenient: bool = False,
    context: bool = False,
) -> Decoded:
    """The meaning of a received object, with all its problems.

    Problem codes: ``body.json`` and ``body.shape`` (not the request's shape), ``features.missing``,
    ``features.unknown``, ``features.type``, ``features.range``, ``features.enum``.

    Args:
        raw: JSON text of the object, or the decoded object.
        features: all features of the endpoint.
        extra: what happens to keys that are no features.
        lenient: a wrong-typed value is MISSING and counted; bounds and enums are only counted.
        context: decode the request's context instead of its features.
    """
    prefix = "context" if context else "features"
    data = raw
    if isinstance(data, bytes | bytearray | memoryview):
        try:
            data = _LOADS(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            message = "expected JSON, got " + (str(error) or "brackets that are too deep")
            return Decoded({}, [Problem("body.json", message, prefix)], {})
    if not isinstance(data, dict):
        message = f"expected an object of {prefix}, got {_shown(data)}"
        return Decoded({}, [Problem("body.shape", message, prefix)], {})
    own = own_features(features, context=context)
    found = Decoded({}, [], {})
    for name, feature in own.items():
        _one(name, feature, data.get(name), prefix, found, lenient=lenient)
    for name in data:
        if name not in own:
            _unknown(str(name), own, prefix, found, extra)
    return found


_LOADS = msgspec.json.Decoder(float_hook=decimal.Decimal).decode


def _one(
    name: str, feature: Feature, value: Any, prefix: str, found: Decoded, *, lenient: bool
) -> None:
    at = f"{prefix}.{name}"

    def report(code: str, expected: str) -> None:
        got = _shown(value)
        found.problems.append(
            Problem(code, f"expected {expected}, got {got}", at, expected=expected, got=got)
        )

    def count(code: str) -> None:
        found.counters[f"{code}:{name}"] = found.counters.get(f"{code}:{name}", 0) + 1

    if isinstance(value, str) and feature.type == "decimal" and not value.isascii():
        read, fits = None, False
    else:
        read, fits = _read(feature, value)
    if not fits:
        if not lenient or not (feature.nullable or feature.default is not None):
            report("features.type", _EXPECTED[feature.type] + _digits(feature))
            return
        count("features.type")
    if read is None and feature.default is not None:
        read = domain.read(feature, feature.default)
    if read is None and not feature.nullable:
        expected = _EXPECTED[feature.type]
        found.problems.append(
            Problem(
                "features.missing",
                f"expected {expected}, got nothing",
                at,
                f"send `{name}` with every request",
                expected,
                "nothing",
            )
        )
        return
    if read is not None and feature.type == "enum" and read not in feature.values:
        if not lenient:
            report("features.enum", "one of " + ", ".join(feature.values[:20]))
            return
        count("features.enum")
    low, high = _bounds(feature)
    if read is not None and (
        (low is not None and read < low) or (high is not None and read > high)
    ):
        if not lenient:
            report("features.range", _range_words(low, high))
            return
        count("features.range")
    found.values[name] = read


def _read(feature: Feature, value: Any) -> tuple[Any, bool]:
    try:
        return domain.read(feature, value), True
    except domain.WrongTypeError:
        return None, False


def _unknown(name: str, own: FeatureMap, prefix: str, found: Decoded, extra: Extra) -> None:
    if extra == "ignore":
        key = f"features.unknown:{name}"
        found.counters[key] = found.counters.get(key, 0) + 1
        return
    shown = name if len(name) <= 60 else name[:57] + "..."
    found.problems.append(
        Problem(
            "features.unknown",
            f"expected a declared feature, got {shown!r}",
            f"{prefix}.{shown}",
            suggestion(name, own) or "remove it",
            "a declared feature",
            shown,
        )
    )


def _type(feature: Feature) -> Any:
    low, high = _bounds(feature)
    match feature.type:
        case "int":
            floor = domain.INT_MIN if low is None else low
            roof = domain.INT_MAX if high is None else high
            return Annotated[int, Meta(ge=floor, le=roof)]
        case "float" | "float32":
            return Annotated[float, Meta(ge=low, le=high)]
        case "enum":
            return Literal[feature.values]
        case "timestamp":
            return Annotated[dt.datetime, Meta(tz=True)]
    return {"decimal": decimal.Decimal, "bool": bool, "string": str, "date": dt.date}[feature.type]


def _bounds(feature: Feature) -> tuple[Any, Any]:
    if feature.type in ("bool", "string", "enum"):
        return None, None
    return _bound(feature, feature.min), _bound(feature, feature.max)


def _bound(feature: Feature, value: Any) -> Any:
    if feature.type == "int" and isinstance(value, float) and value == int(value):
        return int(value)
    return value if feature.type == "int" else domain.read(feature, value)


def _check(feature: Feature) -> Callable[[Any], bool] | None:
    """What the type alone cannot refuse: digits of a decimal, bounds of decimals and times."""
    low, high = _bounds(feature)
    if feature.type not in ("decimal", "date", "timestamp"):
        return None
    if feature.type != "decimal" and low is None and high is None:
        return None

    def fits(value: Any) -> bool:
        read, sound = _read(feature, value)
        return (
            sound
            and read is not None
            and not ((low is not None and read < low) or (high is not None and read > high))
        )

    return fits


def _post_init(checks: list[tuple[str, Callable[[Any], bool]]]) -> Callable[[Any], None]:
    def post_init(self: Any) -> None:
        for name, fits in checks:
            value = getattr(self, name)
            if value is not None and not fits(value):
                raise ValueError(name)

    return post_init


def _digits(feature: Feature) -> str:
    return f" with at most {feature.scale} decimals" if feature.type == "decimal" else ""


def _range_words(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _shown(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        text = str(value)
    else:
        try:
            text = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, msgspec.MsgspecError):
            text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
