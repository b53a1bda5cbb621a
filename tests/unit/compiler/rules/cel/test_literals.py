"""Literals, patterns and times mean what CEL says, to the last digit."""

import pytest

from compiler.errors import ProblemsError
from compiler.rules.cel.lex import tokens
from compiler.rules.cel.patterns import PatternError, to_python
from compiler.rules.cel.times import parse_moment, parse_span
from compiler.rules.cel.values import Failure, Uint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("7u", Uint(7)),
        (".5e1", 5.0),
        (r"'\x41\u00e9\U0001F600\101\n'", "Aé😀A\n"),
        (r"r'\n'", r"\n"),
        ('"""a\n"b"""', 'a\n"b'),
        (r"b'\xff\303é'", b"\xff\xc3\xc3\xa9"),
        (r"bR'\x'", b"\\x"),
    ],
)
def test_literal_has_its_value(text, value):
    token = tokens(text)[0]
    assert token.value == value
    assert type(token.value) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        r"'\q'",
        r"'\ud800'",
        r"'\U00110000'",
        r"b'\u0041'",
        "'a\nb'",
        "'a",
        "1e999",
        "18446744073709551616u",
        "0x8000000000000001",
        "12abc",
        "#",
    ],
)
def test_bad_literal_is_refused_with_its_place(text):
    with pytest.raises(ProblemsError) as refused:
        tokens("n ==\n " + text)
    assert refused.value.problems[0].at.startswith("2:")


@pytest.mark.parametrize(
    ("pattern", "becomes"),
    [
        (r"^\d+$", r"^[0-9]+\Z"),
        (r"[\d\-]\s", r"[0-9\-][\t\n\f\r ]"),
        (r"\bweb\b", r"(?a:\b)web(?a:\b)"),
        (r"\x{1F600}\x2e\z", r"😀\.\Z"),
        (r"(?:a|b)\W", r"(?:a|b)[^0-9A-Za-z_]"),
        (r"\.com", r"\.com"),
    ],
)
def test_pattern_is_rewritten_where_re2_means_something_else(pattern, becomes):
    assert to_python(pattern) == becomes


@pytest.mark.parametrize(
    "pattern",
    [
        "[[:alpha:]]",
        "(?i)a",
        "(?P<x>a)",
        "a++",
        r"\pN",
        "[]a]",
        "[a[b]",
        r"\1",
        "a{,3}",
        "\\",
        "[a&&b]",
        r"[\W]",
        r"\Z",
        "(a*)*",
        "a" * 501,
        "(",
        "(?=a)",
    ],
)
def test_pattern_that_only_one_engine_reads_is_refused(pattern):
    with pytest.raises(PatternError):
        to_python(pattern)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("90s", 90 * 10**9),
        ("1h30m", 5_400 * 10**9),
        ("-1.5s", -1_500_000_000),
        ("1us", 1000),
        ("0", 0),
    ],
)
def test_duration_is_exact(text, ns):
    assert parse_span(text).ns == ns


@pytest.mark.parametrize("text", ["", "5", "1d", "-", "1h 2m", "1e3s", "320000000000s"])
def test_bad_duration_has_no_value(text):
    with pytest.raises(Failure):
        parse_span(text)


def test_time_is_exact_to_the_nanosecond_and_knows_its_offset():
    assert parse_moment("1970-01-01T01:00:00.000000001+01:00").ns == 1


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "2024-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00",
        "0001-01-01T00:00:00+01:00",
        "2024-01-01T00:00:00+24:00",
    ],
)
def test_bad_time_has_no_value(text):
    with pytest.raises(Failure):
        parse_moment(text)
