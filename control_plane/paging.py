"""Lists in pages: a cursor names the last row that was seen, so new rows never shift a page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter
from msgspec import Struct

from control_plane.errors import InvalidError

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="rows at most")]
"""A page size in the query of a route."""
Whole = Annotated[int | None, QueryParameter(ge=0, lt=2**31)]
"""A whole number in the query of a route that a database integer can hold."""
Cursor = Annotated[str, QueryParameter(max_length=400, description="`next` of the page before")]
"""A cursor in the query of a route; empty for the first page."""


class Page(Struct, Generic[T], frozen=True):
    """Some of a list, and where it goes on."""

    items: list[T]
    next: str | None = None
    """Cursor of the next page; ``None`` on the last one."""


class TimeCursor(Struct, frozen=True, array_like=True):
    """Place in a list ordered by time, newest first, with the id as a tie breaker."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: UUID


def encode_cursor(cursor: TimeCursor) -> str:
    """A cursor as a word that survives a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str | None) -> TimeCursor | None:
    """The cursor behind a word of :func:`encode_cursor`.

    Raises:
        InvalidError: it is not one of ours.
    """
    if not text:
        return None
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=TimeCursor)
    except (ValueError, binascii.Error, msgspec.DecodeError, UnicodeError):
        raise InvalidError(
            "expected a cursor from an earlier page",
            code="page.cursor",
            at="cursor",
            hint="start again without a cursor",
        ) from None


def check_limit(limit: int) -> int:
    """A page size within the bounds.

    Raises:
        InvalidError: below 1 or above :data:`MAX_LIMIT`.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidError(
            f"expected a limit from 1 to {MAX_LIMIT}, got {limit}", code="page.limit", at="limit"
        )
    return limit


def write_cursor(*key: Any) -> str:
    """Opaque text for the sort key of the last row shown.

    >>> read_cursor(write_cursor("credit", 3), str, int)
    ('credit', 3)
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def read_cursor(text: str, *kinds: Any) -> tuple[Any, ...]:
    """The sort key inside a cursor of :func:`write_cursor`.

    Raises:
        InvalidError: not a cursor of this list.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        key: tuple[Any, ...] = msgspec.json.decode(raw, type=tuple.__class_getitem__(kinds))
    except (ValueError, binascii.Error, msgspec.MsgspecError, UnicodeError):
        raise InvalidError(
            "expected a cursor from an earlier page",
            code="page.cursor",
            at="cursor",
            hint="start again without a cursor",
        ) from None
    return key


def page_of(
    rows: Sequence[Any],
    limit: int,
    make: Callable[[Any], T],
    key: Callable[[Any], tuple[Any, ...]],
) -> Page[T]:
    """A page of ``limit`` rows from a query that was asked for one row more.

    Args:
        rows: at most ``limit + 1``.
        limit: size of the page.
        make: item of a row.
        key: sort key of a row.
    """
    shown = rows[:limit]
    more = write_cursor(*key(shown[-1])) if len(rows) > limit else None
    return Page([make(row) for row in shown], more)
