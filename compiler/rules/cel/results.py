"""What a part of a CEL text comes to, and how ``&& || ! ?:`` put conditions together.

A :class:`Constant` has a value, :class:`Failed` is an expression that CEL can only answer with an
error. Both need no row. A :class:`Test` is a condition of ours, an :class:`Input` a value of a row.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from compiler.errors import AppError
from compiler.rules import ast, limits
from compiler.schema import Feature

MAX_SIZE = 20_000
"""Conditions that one text may turn into; a choice writes its condition twice."""


class CelError(AppError):
    """A text is outside the subset."""

    code = "cel.subset"


class Constant(Struct, frozen=True):
    """A value known without a row."""

    value: Any


class Failed(Struct, frozen=True):
    """An error whatever the row, such as ``1 / 0``."""

    why: str
    at: str


class Test(Struct, frozen=True):
    """A condition with its size and depth as a tree."""

    condition: ast.Condition
    size: int = 1
    depth: int = 1


class Input(Struct, frozen=True):
    """A value of the row.

    Attributes:
        operand: how the row is read.
        kind: ``int``, ``double``, ``float32``, ``decimal``, ``bool``, ``string``, ``date`` or
            ``timestamp``.
        bounds: least and greatest value of an int, where its feature declares both.
        feature: its declaration, when it is one feature.
    """

    operand: ast.Operand
    kind: str
    bounds: tuple[int, int] | None = None
    feature: Feature | None = None


class Length(Struct, frozen=True):
    """``size(text)``."""

    operand: ast.Operand


class Age(Struct, frozen=True):
    """``now - x`` (``last``) or ``x - now`` (``next``) of a timestamp."""

    operand: ast.Operand
    direction: str


class Shifted(Struct, frozen=True):
    """``now + span``; negative for ``now - span``."""

    ns: int


class Items(Struct, frozen=True):
    """A list with parts that need a row."""

    parts: tuple[Result, ...]


class Choice(Struct, frozen=True):
    """``test ? first : second`` over values that are no conditions."""

    test: Test
    first: Result
    second: Result


Result = Constant | Failed | Test | Input | Length | Age | Shifted | Items | Choice


def as_test(result: Result, at: str) -> Constant | Failed | Test:
    """A result in the place of a condition; anything but a boolean fails, as in CEL."""
    if isinstance(result, Input) and result.kind == "bool":
        return Test(ast.Compare(result.operand, "=", ast.Const(True, at), at))
    if isinstance(result, Test | Failed):
        return result
    if isinstance(result, Constant):
        if isinstance(result.value, bool):
            return result
        return Failed("expected a condition, got a value that is not true or false", at)
    raise CelError(
        "expected a condition, got a value of the row", at=at, hint="compare it with something"
    )


def both(parts: list[Constant | Failed | Test], at: str) -> Constant | Failed | Test:
    """``&&`` of parts in any order: false wins over errors, errors over true."""
    return _joined(parts, at, decides=False)


def either(parts: list[Constant | Failed | Test], at: str) -> Constant | Failed | Test:
    """``||`` of parts in any order: true wins over errors, errors over false."""
    return _joined(parts, at, decides=True)


def _joined(
    parts: list[Constant | Failed | Test], at: str, *, decides: bool
) -> Constant | Failed | Test:
    tests = [part for part in parts if isinstance(part, Test)]
    decided = any(isinstance(part, Constant) and part.value is decides for part in parts)
    failed = next((part for part in parts if isinstance(part, Failed)), None)
    if not tests:
        if decided or failed is None:
            return Constant(decides if decided else not decides)
        return failed
    if decided:  # the tests stay, so that what is wrong in them is still found
        tests.append(Test(ast.Truth(decides, at)))
    elif failed is not None:
        raise never(failed)
    if len(tests) == 1:
        return tests[0]
    group: type[ast.And | ast.Or] = ast.Or if decides else ast.And
    flat: list[ast.Condition] = []
    for test in tests:
        inner = test.condition
        flat.extend(
            inner.of if isinstance(inner, ast.And | ast.Or) and type(inner) is group else [inner]
        )
    depth = 1 + max(test.depth - (type(test.condition) is group) for test in tests)
    return sized(group(tuple(flat), at), 1 + sum(test.size for test in tests), depth, at)


def negated(part: Constant | Failed | Test, at: str) -> Constant | Failed | Test:
    """``!``."""
    if isinstance(part, Constant):
        return Constant(not part.value)
    if isinstance(part, Failed):
        return part
    return sized(ast.Not(part.condition, at), part.size + 1, part.depth + 1, at)


def chosen(
    test: Test, first: Constant | Failed | Test, second: Constant | Failed | Test, at: str
) -> Constant | Failed | Test:
    """``test ? first : second`` as ``(test && first) || (!test && second)``."""
    for part in (first, second):
        if isinstance(part, Failed):
            raise never(part)
    left = both([test, first], at)
    right = both([negated(test, at), second], at)
    return either([left, right], at)


def sized(condition: ast.Condition, size: int, depth: int, at: str) -> Test:
    """A test within the limits.

    Raises:
        CelError: too large or too deep.
    """
    if size > MAX_SIZE:
        raise CelError(
            f"expected at most {MAX_SIZE} conditions in one text, got more",
            code="rule.too_large",
            at=at,
            hint="split it into several rules",
        )
    if depth > limits.MAX_DEPTH:
        raise CelError(
            f"expected at most {limits.MAX_DEPTH} nested levels, got more",
            code="rule.too_deep",
            at=at,
            hint="split it into several rules",
        )
    return Test(condition, size, depth)


def never(failed: Failed) -> CelError:
    """The refusal of a part that CEL can only answer with an error."""
    return CelError(
        f"expected a part that can have a value, got one that always fails: {failed.why}",
        code="cel.always_fails",
        at=failed.at,
        hint="remove it",
    )
