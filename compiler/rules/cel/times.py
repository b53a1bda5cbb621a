"""Timestamps and durations of constant CEL expressions, exact to the nanosecond."""

from __future__ import annotations

import datetime as dt
import re

from compiler.rules.cel.values import INT_MAX, INT_MIN, Failure, Moment, Span

_SECOND = 10**9
_FIRST = -62_135_596_800 * _SECOND
_LAST = 253_402_300_800 * _SECOND - 1
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))\Z"
)
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|ms|h|m|s)")
_UNIT = {"h": 3600 * _SECOND, "m": 60 * _SECOND, "s": _SECOND, "ms": 10**6, "us": 1000, "ns": 1}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(ns: int) -> Moment:
    """The timestamp of an instant.

    Raises:
        Failure: outside the years 1 to 9999.
    """
    if not _FIRST <= ns <= _LAST:
        raise Failure("the timestamp is outside the years 1 to 9999")
    return Moment(ns)


def span(ns: int) -> Span:
    """The duration of so many nanoseconds.

    Raises:
        Failure: beyond 64 bits (about 292 years).
    """
    if not INT_MIN <= ns <= INT_MAX:
        raise Failure("the duration is beyond 64 bits of nanoseconds")
    return Span(ns)


def parse_moment(text: str) -> Moment:
    """Instant of an RFC 3339 text.

    Raises:
        Failure: not such a text, or outside the years 1 to 9999.
    """
    found = _MOMENT.match(text)
    if found is None:
        raise Failure(f"{text[:40]!r} is no RFC 3339 time with offset")
    try:
        base = dt.datetime.fromisoformat(found[1].upper()).replace(tzinfo=dt.UTC)
    except ValueError:
        raise Failure(f"{text[:40]!r} is no day and time of the calendar") from None
    offset = 0
    if found[3]:
        hours, minutes = int(found[4]), int(found[5])
        if hours > 23 or minutes > 59:
            raise Failure(f"{text[:40]!r} has no offset of a time zone")
        offset = (hours * 60 + minutes) * (60 if found[3] == "+" else -60)
    whole = (base - _EPOCH) // dt.timedelta(seconds=1) - offset
    return moment(whole * _SECOND + int((found[2] or "0").ljust(9, "0")))


def parse_span(text: str) -> Span:
    """Duration of a text such as ``1h30m`` or ``-1.5s``.

    Raises:
        Failure: not such a text, or beyond 64 bits of nanoseconds.
    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Span(0)
    total, place = 0, 0
    while place < len(rest):
        found = _PART.match(rest, place)
        if found is None or len(found[1]) > 40:
            break
        whole, _, fraction = found[1].partition(".")
        unit = _UNIT[found[2]]
        total += int(whole or "0") * unit
        total += int(fraction or "0") * unit // 10 ** len(fraction)
        place = found.end()
    if not rest or place < len(rest):
        raise Failure(f"{text[:40]!r} is no duration (such as 90s or 1h30m)")
    return span(-total if text.startswith("-") else total)
