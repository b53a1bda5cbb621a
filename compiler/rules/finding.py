"""What analysis says about a table."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Level = Literal["error", "warning", "note"]


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing a reviewer should know, with a row that shows it.

    Attributes:
        level: ``error`` stops a publish.
        code: stable word, such as ``unreachable``.
        message: for people.
        rules: ids concerned.
        at: place in the source.
        example: a row that shows it; None when none applies.
        proven: False when the budget ended first and the message says so.
    """

    level: Level
    code: str
    message: str
    rules: tuple[str, ...] = ()
    at: str = ""
    example: dict[str, Any] | None = None
    proven: bool = True
