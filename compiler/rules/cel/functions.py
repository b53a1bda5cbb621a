"""Functions of constants: sizes, text tests and conversions between types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from compiler.rules.cel import patterns, times, values
from compiler.rules.cel.values import Failure, Map, Moment, Span, TypeWord, Uint

if TYPE_CHECKING:
    from collections.abc import Callable

_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}\Z")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def call(name: str, args: list[Any]) -> Any:
    """Value of a function of constants, a method's receiver first.

    Raises:
        Failure: the function does not take these, or has no value for them.
        KeyError: no such function.
    """
    count, function = FUNCTIONS[name]
    if len(args) != count:
        raise Failure(f"{name} takes {count} arguments, got {len(args)}")
    return function(*args)


def _bad(name: str, value: Any) -> Failure:
    return Failure(f"{name} of {values.kind(value)} {values.shown(value)} is not defined")


def _size(value: Any) -> int:
    if isinstance(value, str | bytes | tuple):
        return len(value)
    if isinstance(value, Map):
        return len(value.pairs)
    raise _bad("size", value)


def _texts(name: str, test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    def checked(value: Any, part: Any) -> bool:
        if not isinstance(value, str) or not isinstance(part, str):
            raise Failure(f"{name} takes texts, got {values.kind(value)} and {values.kind(part)}")
        return test(value, part)

    return checked


def _matches(value: str, pattern: str) -> bool:
    return re.search(patterns.to_python(pattern), value) is not None


def _whole(value: Any, low: int, high: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(name, value)
    if isinstance(value, str):
        if not _DECIMAL.match(value) or (name == "uint" and value.startswith(("+", "-"))):
            raise _bad(name, value)
        value = int(value)
    if isinstance(value, float):
        if not low <= value < high:
            raise Failure(f"{values.shown(value)} is outside {name}")
        value = int(value)
    if not low <= value <= high:
        raise Failure(f"{values.shown(value)} is outside {name}")
    return int(value)


def _int(value: Any) -> int:
    if isinstance(value, Moment):
        return value.ns // 10**9
    if isinstance(value, float) and not values.INT_MIN < value < values.INT_MAX:
        raise Failure(f"{values.shown(value)} is outside int")
    return _whole(value, values.INT_MIN, values.INT_MAX, "int")


def _uint(value: Any) -> Uint:
    return Uint(_whole(value, 0, values.UINT_MAX, "uint"))


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad("double", value)
    if isinstance(value, str) and not _NUMBER.match(value):
        raise _bad("double", value)
    return float(value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _TRUE | _FALSE:
        return value in _TRUE
    raise _bad("bool", value)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Failure("the bytes are not UTF-8") from None
    raise _bad("string", value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise _bad("bytes", value)


def _timestamp(value: Any) -> Moment:
    if isinstance(value, Moment):
        return value
    if isinstance(value, str):
        return times.parse_moment(value)
    if values.kind(value) == "int":
        return times.moment(value * 10**9)
    raise _bad("timestamp", value)


def _duration(value: Any) -> Span:
    if isinstance(value, Span):
        return value
    if isinstance(value, str):
        return times.parse_span(value)
    raise _bad("duration", value)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "size": (1, _size),
    "contains": (2, _texts("contains", lambda value, part: part in value)),
    "startsWith": (2, _texts("startsWith", str.startswith)),
    "endsWith": (2, _texts("endsWith", str.endswith)),
    "matches": (2, _texts("matches", _matches)),
    "int": (1, _int),
    "uint": (1, _uint),
    "double": (1, _double),
    "bool": (1, _bool),
    "string": (1, _string),
    "bytes": (1, _bytes),
    "timestamp": (1, _timestamp),
    "duration": (1, _duration),
    "dyn": (1, lambda value: value),
    "type": (1, lambda value: TypeWord(values.kind(value))),
}
METHODS = frozenset({"size", "contains", "startsWith", "endsWith", "matches"})
GLOBALS = frozenset(FUNCTIONS) - {"contains", "startsWith", "endsWith"}
TYPE_WORDS = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"}
    | {"google.protobuf.Timestamp", "google.protobuf.Duration"}
)
