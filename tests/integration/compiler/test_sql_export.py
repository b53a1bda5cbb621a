"""A table exported to SQL decides in PostgreSQL as the reference does, or says where it may not."""

from __future__ import annotations

import asyncio
import math
import re

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.rules.domain import round32
from compiler.rules.export.sql import COLUMN_TYPES, name, to_sql
from compiler.rules.export.sql_patterns import PatternError, to_postgres
from compiler.rules.pipeline import compile_rules
from tests.strategies import NOW_US, PLAIN, TEXTUAL, sound_rows, tables

NOW = f"to_timestamp({NOW_US // 1_000_000})"
FLOATS = [n for n, f in PLAIN.items() if f.type in ("float", "float32")]
SETTINGS = settings(
    max_examples=100, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class Database:
    """One connection with a table of every feature."""

    def __init__(self, url):
        self.loop = asyncio.new_event_loop()
        self.connection = self.do(asyncpg.connect(url))
        columns = ", ".join(f"{name(n)} {COLUMN_TYPES[f.type]}" for n, f in PLAIN.items())
        self.do(self.connection.execute(f"CREATE TEMP TABLE requests (row_number int, {columns})"))

    def do(self, work):
        return self.loop.run_until_complete(work)

    def decide(self, rows, sql):
        """Rule and route per row, in order."""
        records = [(i, *(_stored(row, n) for n in PLAIN)) for i, row in enumerate(rows)]
        self.do(self.connection.execute("TRUNCATE requests"))
        self.do(self.connection.copy_records_to_table("requests", records=records))
        query = sql.rstrip().removesuffix(";") + " ORDER BY row_number"
        return [(row["rule"], row["route"]) for row in self.do(self.connection.fetch(query))]

    def close(self):
        self.do(self.connection.close())
        self.loop.close()


@pytest.fixture(name="database")
def _database(database_url):
    found = Database(database_url)
    yield found
    found.close()


def _stored(row, feature):
    value = row[feature]
    single = PLAIN[feature].type == "float32" and value is not None
    return round32(value) if single else value


def _expected(rules, row):
    index, _ = rules.reference(row, NOW_US)
    return f"!{rules.ids[-1 - index]}" if index < 0 else rules.ids[index]


def _alike(row, codes):
    """Whether a row is outside every difference that was reported."""
    texts = [row[n] or "" for n in TEXTUAL]
    if "sql.ascii" in codes and not all(value.isascii() for value in texts):
        return False
    whole = [row[n] or 0 for n, f in PLAIN.items() if f.type == "int"]
    return "sql.precision" not in codes or all(abs(value) <= 2**53 for value in whole)


@SETTINGS
@given(tables(), st.lists(sound_rows(), min_size=1, max_size=12), st.data())
def test_postgres_decides_as_the_reference(database, table, rows, data):
    rules = compile_rules(table, features=PLAIN)
    exported = to_sql(rules, now=NOW)
    codes = {difference.code for difference in exported.differences}
    for row in rows:
        for feature in FLOATS:
            if row[feature] is not None and data.draw(st.integers(0, 5)) == 0:
                row[feature] = math.nan
    rows = [row for row in rows if _alike(row, codes)]
    try:
        found = database.decide(rows, exported.text)
    except asyncpg.NumericValueOutOfRangeError:
        assert "sql.range" in codes
        return
    assert [rule for rule, _ in found] == [_expected(rules, row) for row in rows]


PATTERNS = (
    "", "a", "^a", "a$", "^a$", "a.b", "[ab]+c", "[^a]b", "a|b|", "(a|bc)d?", "a{2,3}", "^[a-c]*$",
    r"\Aa", r"a\Z", r"\d+", r"\D", r"^\w+$", r"[\d.]+", r"\s", "a+?b", r"\.", "é", "[é-ü]",
    r"\*\+\?\(\)\[\]\{\}\|\^\$\\", "(?:ab)+c", "x*", r"[\]\-^]", "_", "'", "(?P<n>a)b", "a b",
    r"\*\*\*:a", "/", "\t", "😀", r"[\s_]",
)  # fmt: skip
VALUES = (
    "", "a", "ab", "a\n", "a\nb", "\na", "aab", "abab c", "abc", "bcd", "aaa", "12.5", "x_1", "a b",
    "a\tb", "*+?()[]{}|^$\\", "é", "ö", "a.b", "-", "]", "'", "***:a", "a/b", "ABC", "\n", "aaaa",
    "😀", "9\n",
)  # fmt: skip


def test_patterns_match_in_postgres_what_they_match_here(database):
    query = "SELECT array_agg(v ~ $1 ORDER BY n) FROM unnest($2::text[]) WITH ORDINALITY u(v, n)"
    for pattern in PATTERNS:
        written, classes = to_postgres(pattern)
        values = [value for value in VALUES if value.isascii() or not classes]
        found = database.do(database.connection.fetchval(query, written, values))
        assert found == [re.search(pattern, value) is not None for value in values], pattern


@pytest.mark.parametrize("pattern", [r"\bword", "(?i)a", "(?i:a)b", "a{300}", r"[\D\d]", "(?:^)*a"])
def test_patterns_without_an_equal_in_postgres_are_refused(pattern):
    with pytest.raises(PatternError):
        to_postgres(pattern)
