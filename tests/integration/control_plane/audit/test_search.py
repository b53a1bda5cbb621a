"""Every question to the evidence, page by page, beside the same question to all rows in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import msgspec
import pytest

from control_plane.audit import search
from control_plane.audit.schemas import Filters
from control_plane.audit.search import Place, Span, spans

ROWS = """
INSERT INTO audit_records (id, received_at, decided_at, endpoint, release, rule, unknown, model,
  version, key_id, request_id, subject_ref, decision, status, durability, retention_class, features,
  defaults, outputs, latency_us, explain, rows, schema_version, writer, seq, batch, leaf)
SELECT uuidv7(at - clock_timestamp()), at, at, 'e' || n % 3, n % 4, 'r' || n % 7, '{}',
  CASE WHEN n % 9 > 0 THEN 'm' || n % 2 END, n % 5, 'k' || n % 2, 'q' || n % 50, 's' || n % 40,
  CASE WHEN n % 5 = 0 THEN 'decline' ELSE 'approve' END,
  CASE WHEN n % 60 = 0 THEN 500 WHEN n % 90 = 0 THEN 422 ELSE 200 END, 'process', 'default',
  '{}', '{}', '{}', 100, 0, 1, 1, 'w', n, 1, n
FROM generate_series(1, 420) n,
LATERAL (SELECT clock_timestamp() - interval '9 days' * ((n * 7919) % 420) / 420 AS at) t
"""
QUESTIONS = (
    {},
    {"endpoint": "e1"},
    {"endpoint": "nobody"},
    {"endpoint": "e2", "decision": "decline"},
    {"model": "m1"},
    {"model": "m0", "version": 3},
    {"rule": "r6", "status": 200},
    {"key_id": "k1", "release": 2},
    {"release": 3},
    {"status": 200},
    {"status": 500},
    {"status": 422, "endpoint": "e0"},
    {"status": 404},
    {"subject_ref": "s7"},
    {"request_id": "q11", "endpoint": "e2"},
    {"decision": "decline", "rule": "r0"},
    {"outcome": "bad"},
    {"outcome": "bad", "endpoint": "e1"},
    {"outcome": "bad", "subject_ref": "s7"},
    {"outcome": "good"},
    {"override": "approve", "status": 200},
    {"override": "approve", "outcome": "bad", "key_id": "k0"},
)


EVENTS = """
INSERT INTO audit_events (at, kind, actor, record_id, subject_ref, body)
SELECT clock_timestamp() - interval '3 days' * (seq % 2), kind, 'k',
  CASE WHEN seq % 3 > 0 THEN id END, CASE WHEN seq % 3 = 0 THEN subject_ref END,
  json_build_object('label', 'bad', 'decision', 'approve')
FROM audit_records, unnest(ARRAY['outcome', 'outcome', 'override']) kind WHERE seq % 7 = 0
"""


@pytest.fixture
async def evidence(database_url: str) -> Any:
    """Ten days of records, most of them over: their indexes are there."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT ensure_audit_partitions('default', 1, current_date - 12)")
    await connection.execute(ROWS)
    await connection.execute(EVENTS)
    while await connection.fetchval("SELECT close_audit_partition()"):
        pass
    yield connection
    await connection.close()


def said(row: Any, events: list[Any], kind: str, word: str | None) -> bool:
    """Whether this was said about a decision, by its id or, later, about its subject."""
    field = {"outcome": "label", "override": "decision"}[kind]
    return word is None or any(
        event["kind"] == kind
        and msgspec.json.decode(event["body"])[field] == word
        and (
            event["record_id"] == row["id"]
            if event["record_id"]
            else event["subject_ref"] == row["subject_ref"] and row["received_at"] <= event["at"]
        )
        for event in events
    )


def holds(row: Any, events: list[Any], filters: Filters) -> bool:
    """The meaning of filters, word for word."""
    asked = {name: value for name, value in msgspec.to_builtins(filters).items() if value}
    since, until = filters.since, filters.until
    return (
        (since is None or row["received_at"] >= since)
        and (until is None or row["received_at"] < until)
        and all(row[name] == value for name, value in asked.items() if name in search.EQUAL)
        and said(row, events, "outcome", filters.outcome)
        and said(row, events, "override", filters.override)
    )


async def all_pages(connection: Any, filters: Filters, limit: int) -> tuple[list[Any], int]:
    """Ids of every page, and how many pages there were."""
    found: list[Any] = []
    after: Place | None = None
    for number in range(1, 2000):
        page = await search.search(connection, filters, after, limit, datetime.now(UTC))
        assert len(page.rows) <= limit
        found += page.rows
        after = page.after
        if after is None:
            return found, number
    raise AssertionError("pages without an end")


@pytest.mark.parametrize("most", [1, 37, 20_000])
async def test_pages_hold_every_row_once_and_the_newest_first(
    evidence: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(search, "EXAMINED", most)
    stored = await evidence.fetch("SELECT * FROM audit_records")
    events = await evidence.fetch("SELECT * FROM audit_events")
    now = datetime.now(UTC)
    times = (
        {},
        {"since": now - timedelta(days=4, hours=5)},
        {"until": now - timedelta(days=1, hours=2)},
        {"since": now - timedelta(days=7), "until": now - timedelta(hours=30)},
    )
    questions = QUESTIONS[:: {1: 5, 37: 2}.get(most, 1)]
    for number, question in enumerate(questions):
        filters = Filters(**question, **times[number % len(times)])
        expected = {row["id"] for row in stored if holds(row, events, filters)}
        found, pages = await all_pages(evidence, filters, 11 if most > 1 else 300)
        assert [row.id for row in found if row.id not in expected] == [], question
        assert len(found) == len(expected) == len({row.id for row in found}), question
        assert all(a.received_at >= b.received_at for a, b in pairwise(found)), question
        if most == 20_000:
            assert pages == max(1, -(-len(expected) // 11)), question


async def test_a_question_opens_only_the_days_it_is_about(evidence: Any) -> None:
    """However many days there are, the newest page reads none before yesterday."""
    query = search._Query()  # the SQL itself is what is judged
    now = datetime.now(UTC)
    first = next(spans(now, None, None, None))
    text = search._SQL["bounded"].format(
        where="true", window=query.span(first), limit=50, most=search.EXAMINED
    )
    for value in query.values:
        text = text.replace("$1", f"'{value.isoformat()}'")
    plan = "\n".join(row[0] for row in await evidence.fetch("EXPLAIN " + text))
    days = {word for word in plan.split() if word.startswith("audit_records_default_2")}
    yesterday = (now - timedelta(days=1)).strftime("%Y%m%d")
    assert min(day.split("_")[3] for day in days) == yesterday, plan


def test_spans_cover_all_time_without_overlap() -> None:
    now = datetime(2026, 3, 1, 13, 30, tzinfo=UTC)
    found = list(spans(now, None, None, None))
    assert found[0] == Span(datetime(2026, 2, 28, tzinfo=UTC), None, over=False)
    assert found[-1].low is None
    assert all(newer.low == older.high for newer, older in pairwise(found))
    assert all(span.over for span in found[1:])
    assert len(found) < 15


def test_spans_begin_and_end_where_the_question_does() -> None:
    now = datetime(2026, 3, 1, 13, 30, tzinfo=UTC)
    since, until = now - timedelta(days=20), now - timedelta(days=3)
    found = list(spans(now, since, until, None))
    assert (found[0].high, found[-1].low) == (until, since)
    assert all(span.over for span in found)
    later = list(spans(now, since, until, Place(now - timedelta(days=9), None)))
    assert later[0].high == now - timedelta(days=9) + timedelta(milliseconds=1)
    assert list(spans(now, now - timedelta(hours=1), None, None)) == [
        Span(now - timedelta(hours=1), None, over=False)
    ]
    assert list(spans(now, now - timedelta(hours=1), now - timedelta(hours=2), None)) == []
