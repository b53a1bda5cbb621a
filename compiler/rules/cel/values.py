"""Values of constant CEL expressions, how they compare, and the errors they can end in.

int is ``int`` (int64), uint :class:`Uint`, double ``float``, the rest as named below. Numbers of
all three kinds lie on one number line; a whole number meets a double as the nearest double, which
is what the public cases ask for near 2**63.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
UINT_MAX = 2**64 - 1


class Failure(Exception):  # noqa: N818 - CEL's own error value, absorbed by && and ||
    """A constant expression has no value: what CEL calls an evaluation error."""


class Uint(int):
    """An unsigned 64-bit integer."""


class Moment(Struct, frozen=True, order=True):
    """A timestamp: nanoseconds since 1970-01-01 UTC."""

    ns: int


class Span(Struct, frozen=True, order=True):
    """A duration in nanoseconds, within int64."""

    ns: int


class TypeWord(Struct, frozen=True):
    """What ``type(x)`` gives."""

    name: str


class Map(Struct, frozen=True):
    """Pairs in the order written; keys are distinct on CEL's terms."""

    pairs: tuple[tuple[Any, Any], ...]

    def get(self, key: Any) -> Any:
        """Value of a key.

        Raises:
            Failure: no such key.
        """
        for found, value in self.pairs:
            if equal(found, key):
                return value
        raise Failure(f"no such key {shown(key)}")

    def has(self, key: Any) -> bool:
        """Whether a key is there."""
        return any(equal(found, key) for found, _ in self.pairs)


def kind(value: Any) -> str:
    """CEL's name of a value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Uint):
        return "uint"
    if value is None:
        return "null_type"
    for class_, name in _KINDS:
        if isinstance(value, class_):
            return name
    raise TypeError(value)


_KINDS: tuple[tuple[type, str], ...] = (
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (bytes, "bytes"),
    (tuple, "list"),
    (Map, "map"),
    (Moment, "google.protobuf.Timestamp"),
    (Span, "google.protobuf.Duration"),
    (TypeWord, "type"),
)
NUMBERS = frozenset({"int", "uint", "double"})
_ORDERED = frozenset(
    {"bool", "string", "bytes", "google.protobuf.Timestamp", "google.protobuf.Duration"}
)


def equal(left: Any, right: Any) -> bool:
    """CEL's ``==``: numbers by value, other types only with their own, NaN with nothing."""
    left_kind, right_kind = kind(left), kind(right)
    if left_kind in NUMBERS and right_kind in NUMBERS:
        return number_order(left, right) == 0
    if left_kind != right_kind:
        return False
    if left_kind == "list":
        return len(left) == len(right) and all(map(equal, left, right))
    if left_kind == "map":
        return len(left.pairs) == len(right.pairs) and all(
            right.has(key) and equal(value, right.get(key)) for key, value in left.pairs
        )
    return bool(left == right)


def ordered(left: Any, op: str, right: Any) -> bool:
    """``< <= > >=``; false for NaN.

    Raises:
        Failure: the two have no order.
    """
    left_kind, right_kind = kind(left), kind(right)
    numbers = left_kind in NUMBERS and right_kind in NUMBERS
    if not numbers and (left_kind != right_kind or left_kind not in _ORDERED):
        raise Failure(f"{op} does not compare {left_kind} with {right_kind}")
    if numbers:
        order = number_order(left, right)
        if order is None:
            return False
        left, right = order, 0
    if op == "<":
        return bool(left < right)
    if op == "<=":
        return bool(left <= right)
    return bool(left > right) if op == ">" else bool(left >= right)


def number_order(left: Any, right: Any) -> int | None:
    """-1, 0 or 1 as left is less, equal or greater; None with a NaN."""
    if isinstance(left, float) == isinstance(right, float):
        if left != left or right != right:
            return None
        return int(left > right) - int(left < right)
    if isinstance(left, float):
        order = number_order(right, left)
        return None if order is None else -order
    if math.isnan(right):
        return None
    unsigned = isinstance(left, Uint)
    if right < float(0 if unsigned else INT_MIN):
        return 1
    if right > float(UINT_MAX if unsigned else INT_MAX):
        return -1
    near = float(left)
    return int(near > right) - int(near < right)


def shown(value: Any) -> str:
    """A value in a few words, for messages."""
    text = repr(int(value)) + "u" if isinstance(value, Uint) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
