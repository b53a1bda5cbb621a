"""Records by what an examiner asks for, newest first, at a cost that does not grow with the table.

The evidence is one table per day. A question is put to the newest days first, then to ever longer
stretches before them, until the page is full: most pages come from one or two tables.

- A subject or a request names few rows: they are found by an index and sorted.
- What was said about decisions is walked from the newest decision back, each read from its day.
- Answers other than 200 are rare and have an index of their own.
- Days that are over have an index per common filter (endpoint, model, rule, decision, key) in order
  of time. Today and yesterday have none, because each would slow the writing of every record down;
  there, and for all other filters, at most ``EXAMINED`` rows are looked at per call. Where that was
  not enough the page ends early, with a cursor that goes on behind the last row looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from control_plane.audit.schemas import Filters, RecordRow
from control_plane.db import sql
from control_plane.db.pool import Connection

_SQL = sql.load("control_plane.audit")

EXAMINED = 5_000
"""Rows that a question without an index looks at in one stretch of days."""
OK = 200
DAY = timedelta(days=1)
LONGEST_DAYS = 1024

EQUAL = (
    "endpoint", "subject_ref", "request_id", "decision", "model", "version", "rule", "release",
    "status", "key_id",
)  # fmt: skip
"""Columns that a filter compares for equality; the only names that ever enter the SQL."""
LINKED = ("outcome", "override")
"""Filters on linked events; their conditions are in ``queries.sql``."""
INDEXED = ("endpoint", "model", "rule", "decision", "key_id")
"""Columns with an index in days that are over."""


class Place(Struct, frozen=True):
    """A row's place in the order of the answers."""

    at: datetime
    id: UUID


class Found(Struct):
    """A page of rows; ``after`` is where the next one begins, None at the end."""

    rows: list[RecordRow]
    after: Place | None = None


class Span(Struct, frozen=True):
    """Rows received from ``low`` (None: ever) until before ``high`` (None: now).

    ``over`` says that all its days are over and have their indexes.
    """

    low: datetime | None
    high: datetime | None
    over: bool


def spans(
    now: datetime, since: datetime | None, until: datetime | None, after: Place | None
) -> Iterator[Span]:
    """Stretches of days from the newest back, the open ones first, each longer than the last."""
    ends = [at for at in (until, after.at + timedelta(milliseconds=1) if after else None) if at]
    top = min(ends, default=None)
    edge = datetime(now.year, now.month, now.day, tzinfo=UTC) - DAY
    high, days, over = None, 1, False
    while True:
        low = edge if days <= LONGEST_DAYS else None
        if since is not None and (low is None or low < since):
            low = since
        if top is None or low is None or low < top:
            end = top if high is None or (top is not None and top < high) else high
            yield Span(low, end, over)
        if low is None or (since is not None and low <= since):
            return
        high, edge, days, over = edge, edge - days * DAY, days * 2, True


class _Query:
    """Conditions with numbered parameters."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def place(self, value: Any) -> str:
        """The placeholder of a value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def filters(self, filters: Filters) -> str:
        """Every filter that is given."""
        found = [
            f"{column} = {self.place(value)}"
            for column in EQUAL
            if (value := getattr(filters, column)) is not None
        ]
        for kind in LINKED:
            value = getattr(filters, kind)
            if value is not None:
                found.append(_SQL[kind].strip().format(self.place(value)))
        return " AND ".join(found) or "true"

    def span(self, span: Span) -> str:
        """Received within a span; whole days, so that other days' tables are never opened."""
        found = []
        if span.low is not None:
            found.append(f"received_at >= {self.place(span.low)}")
        if span.high is not None:
            found.append(f"received_at < {self.place(span.high)}")
        return " AND ".join(found) or "true"


async def search(
    connection: Connection, filters: Filters, after: Place | None, limit: int, now: datetime
) -> Found:
    """A page of records, newest first.

    Args:
        connection: to read with.
        filters: which ones.
        after: where the page before ended.
        limit: rows of a full page.
        now: decides which days are over.
    """
    if filters.subject_ref is not None or filters.request_id is not None:
        return page(await _by_key(connection, filters, after, limit + 1), limit)
    if any(getattr(filters, kind) is not None for kind in LINKED):
        return page(await _by_event(connection, filters, after, limit + 1), limit)
    indexed = any(getattr(filters, column) is not None for column in INDEXED)
    rare = filters.status is not None and filters.status != OK
    rows: list[Any] = []
    for span in spans(now, filters.since, filters.until, after):
        wanted = limit + 1 - len(rows)
        if rare:
            rows += await _read(connection, "rare", filters, after, span, wanted)
        elif indexed and span.over:
            rows += await _read(connection, "by_time", filters, after, span, wanted)
        else:
            some = await _read(connection, "bounded", filters, after, span, wanted)
            rows += [row for row in some if row["matches"]]
            if len(rows) <= limit and some and some[-1]["examined"] == EXAMINED:
                last = some[-1]
                return Found(_converted(rows), Place(last["received_at"], last["id"]))
        if len(rows) > limit:
            break
    return page(rows, limit)


def page(rows: list[Any], limit: int) -> Found:
    """A page from up to ``limit + 1`` rows."""
    after = None
    if len(rows) > limit:
        last = rows[limit - 1]
        after = Place(last["received_at"], last["id"])
    return Found(_converted(rows[:limit]), after)


def _converted(rows: list[Any]) -> list[RecordRow]:
    return [msgspec.convert(dict(row), RecordRow) for row in rows]


async def _read(  # noqa: PLR0917 - one question in one span
    connection: Connection, kind: str, filters: Filters, after: Place | None, span: Span,
    wanted: int,
) -> list[Any]:  # fmt: skip
    query = _Query()
    where, window = query.filters(filters), query.span(span)
    if after is not None and kind == "by_time":
        window += f" AND (received_at, id) < ({query.place(after.at)}, {query.place(after.id)})"
    elif after is not None:
        window += f" AND id < {query.place(after.id)}"
    text = _SQL[kind].format(where=where, window=window, limit=query.place(wanted), most=EXAMINED)
    found: list[Any] = await connection.fetch(text, *query.values)
    return found


async def _by_event(
    connection: Connection, filters: Filters, after: Place | None, wanted: int
) -> list[Any]:
    """Rows that something was said about: of one record by its id, or of a subject."""
    kind = next(kind for kind in LINKED if getattr(filters, kind) is not None)
    others = msgspec.structs.replace(filters, **{kind: None})
    rows: dict[UUID, Any] = {}
    for name in (f"{kind}_of_record", f"{kind}_of_subject"):
        query = _Query()
        said = query.place(getattr(filters, kind))
        where = query.filters(others)
        where += " AND " + query.span(Span(filters.since, filters.until, over=False))
        before = "true"
        if after is not None:
            before = f"id < {query.place(after.id)}"
        text = _SQL[name].format(
            said=said, where=where, before=before, before_record=before.replace("id", "record_id"),
            limit=query.place(wanted),
        )  # fmt: skip
        rows |= {row["id"]: row for row in await connection.fetch(text, *query.values)}
    return [rows[found] for found in sorted(rows, reverse=True)[:wanted]]


async def _by_key(
    connection: Connection, filters: Filters, after: Place | None, wanted: int
) -> list[Any]:
    query = _Query()
    where = query.filters(filters)
    where += " AND " + query.span(Span(filters.since, filters.until, over=False))
    if after is not None:
        where += f" AND id < {query.place(after.id)}"
    text = _SQL["by_key"].format(where=where, limit=query.place(wanted))
    found: list[Any] = await connection.fetch(text, *query.values)
    return found
