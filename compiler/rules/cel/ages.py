"""Timestamps against ``now`` plus or minus a constant duration."""

from __future__ import annotations

import datetime as dt

from compiler.rules import ast, domain
from compiler.rules.cel import values
from compiler.rules.cel.results import Age, CelError, Constant, Input, Result, Shifted

_SECOND = 10**9
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def literal(moment: values.Moment, at: str) -> str:
    """RFC 3339 text of a timestamp literal.

    Raises:
        CelError: finer than a microsecond, which is what features hold.
    """
    if moment.ns % 1000:
        raise CelError("expected a time in whole microseconds, got a finer one", at=at)
    return (domain.EPOCH + dt.timedelta(microseconds=moment.ns // 1000)).isoformat()


def compare(left: Result, op: str, right: Result, at: str) -> ast.Condition:
    """``now - x <= span``, ``x >= now - span`` and the like.

    Raises:
        CelError: the boundary falls on the side that our spans do not have, or is no whole second.
    """
    if isinstance(left, Age) and isinstance(right, Constant):
        if not isinstance(right.value, values.Span):
            raise CelError("expected a duration('...') to compare with, got another value", at=at)
        return _within(left, op, right.value.ns, at)
    if isinstance(left, Input) and left.kind == "timestamp" and isinstance(right, Shifted):
        if op not in _MIRROR:
            raise CelError(f"expected an order with a moving time, got {op}", at=at)
        if right.ns <= 0:
            return _within(Age(left.operand, "last"), _MIRROR[op], -right.ns, at)
        return _within(Age(left.operand, "next"), op, right.ns, at)
    raise CelError(
        "expected a timestamp feature against now and a duration, got other values", at=at
    )


def _within(age: Age, op: str, span_ns: int, at: str) -> ast.Condition:
    if op not in ("<=", ">"):
        raise CelError(
            f"expected <= or > against a span of time, got {op}",
            at=at,
            hint="spans include their end: write now - x <= duration('24h')",
        )
    if span_ns < 0 or span_ns % _SECOND:
        raise CelError("expected a span of whole seconds, not negative, got another", at=at)
    direction = "last" if age.direction == "last" else "next"
    beyond: ast.CompareOp = ">" if direction == "last" else "<"
    inside = ast.Or(
        (
            ast.Within(age.operand, direction, span_ns // 1000, at=at),  # type: ignore[arg-type]
            ast.Compare(age.operand, beyond, ast.Now(at), at),
        ),
        at,
    )
    return inside if op == "<=" else ast.Not(inside, at)
