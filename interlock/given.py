"""What is typed after an option, as data."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.errors import AppError


class NumbersError(AppError):
    """Expected NAME=NUMBER."""

    code = "usage"


def read_numbers(given: Sequence[str], option: str) -> dict[str, float]:
    """Numbers by name.

    Raises:
        NumbersError: not written so.

    >>> read_numbers(("p99_ms=5", "availability=0.999"), "--slo")
    {'p99_ms': 5.0, 'availability': 0.999}
    """
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise NumbersError(
                f"expected NAME=NUMBER, got {text[:80]!r}", at=option, hint="for example p99_ms=5"
            ) from error
    return found
