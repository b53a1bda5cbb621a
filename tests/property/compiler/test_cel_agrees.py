"""A CEL condition over features gives what CEL gives with the row's values in their place."""

from __future__ import annotations

import datetime as dt

from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from compiler.rules.cel.parse import parse
from compiler.rules.cel.results import CelError, Constant
from compiler.rules.cel.translate import Translator
from compiler.rules.cel.values import Moment
from compiler.rules.domain import EPOCH, round32
from tests.conformance.cel import answers_of
from tests.conformance.tables import one_rule

FEATURES = {
    "a": {"type": "float"},
    "b": {"type": "float"},
    "r": {"type": "float32"},
    "i": {"type": "int", "min": -100, "max": 100},
    "k": {"type": "int"},
    "s": {"type": "string"},
    "t": {"type": "string"},
    "ok": {"type": "bool"},
    "ts": {"type": "timestamp"},
}
NOW_US = 1_718_454_000_000_000
NUMBERS = (
    "0.45",
    "1.5",
    "-1.5",
    "0.1",
    "4.5",
    "1e300",
    "5",
    "0",
    "-3",
    "2u",
    "0.0/0.0",
    "16777217",
)
TEXTS = ("''", "'a'", "'ab'", "'Straße'", "r'\\d'", '"x\\ny"')
PATTERNS = ("'^a'", "'b$'", "r'^\\d+$'", "'[ab]+'", "''", "r'\\w\\b'", "'a|x'")
TIMES = ("timestamp('2024-06-15T12:20:00Z')", "timestamp('2024-06-14T12:20:00.000001Z')", "now")
SPANS = ("duration('24h')", "duration('0s')", "duration('90m')")
ORDERS = st.sampled_from(("<", "<=", ">", ">=", "==", "!="))
EQUALS = st.sampled_from(("==", "!="))


def _join(pattern, *parts):
    return st.tuples(*parts).map(lambda found: pattern.format(*found))


def _number():
    base = st.sampled_from(("a", "b", "r", "i", "k", *NUMBERS))
    sums = _join(
        "({} {} {})",
        st.sampled_from(("a", "b", "1.5", "r")),
        st.sampled_from("+-*/"),
        st.sampled_from(("a", "b", "0.0", "2.5")),
    )
    whole = _join(
        "({} {} {})",
        st.sampled_from(("i", "3")),
        st.sampled_from("+-*"),
        st.sampled_from(("i", "7")),
    )
    return base | base | sums | whole | st.just("-a") | st.just("-i")


def _leaf():
    text = st.sampled_from(("s", "t", *TEXTS))
    return st.one_of(
        _join("{} {} {}", _number(), ORDERS, _number()),
        _join(
            "{} in [{}, {}]",
            st.sampled_from(("a", "i", "r", "k")),
            st.sampled_from(NUMBERS[:10]),
            st.sampled_from(NUMBERS[:10]),
        ),
        _join("{} {} {}", text, EQUALS, text),
        _join(
            "{}.{}({})",
            text,
            st.sampled_from(("contains", "startsWith", "endsWith")),
            st.sampled_from(TEXTS),
        ),
        _join("{}.matches({})", text, st.sampled_from(PATTERNS)),
        _join("size({}) {} {}", text, ORDERS, st.integers(-1, 4).map(str)),
        _join("{} in [{}, {}]", text, st.sampled_from(TEXTS), text),
        _join("ok {} {}", ORDERS, st.sampled_from(("true", "false"))),
        st.sampled_from(("ok", "true", "false", "1 / 0 == 1", "'x' == 1")),
        _join("ts {} {}", ORDERS, st.sampled_from(TIMES)),
        _join("now {} {}", ORDERS, st.sampled_from(TIMES)),
        _join("{} {} now - ts", st.sampled_from(SPANS), st.sampled_from((">=", "<"))),
        _join(
            "(i + 7) * 2 {} {}",
            ORDERS,
            st.sampled_from(("k", "i", "10", "2.5", "9007199254740993")),
        ),
        _join("dyn({}) {} {}", st.sampled_from(("a", "i")), ORDERS, st.sampled_from(NUMBERS)),
        _join("now - ts {} {}", st.sampled_from(("<=", ">")), st.sampled_from(SPANS)),
        _join("ts {} now - {}", st.sampled_from((">=", "<")), st.sampled_from(SPANS)),
        _join("ts {} now + {}", st.sampled_from(("<=", ">")), st.sampled_from(SPANS)),
        _join("(ok ? {} : {}) {} {}", text, text, EQUALS, text),
        _join("[1, 5, -3].{}(x, x {} i)", st.sampled_from(("all", "exists")), ORDERS),
    )


def _condition():
    def deeper(inner):
        return st.one_of(
            _join("({} && {})", inner, inner),
            _join("({} || {})", inner, inner),
            _join("!({})", inner),
            _join("({} ? {} : {})", inner, inner, inner),
            _join("(({}) == ({}))", inner, inner),
        )

    return st.recursive(_leaf(), deeper, max_leaves=5)


FLOATS = (0.45, 1.5, -1.5, 0.1, 4.5, 0.0, 5.0, 2.0, 1e300, round32(0.45), round32(0.1), 16777216.0)
ROW = st.fixed_dictionaries(
    {
        "a": st.sampled_from(FLOATS),
        "b": st.sampled_from(FLOATS),
        "r": st.sampled_from([round32(value) for value in FLOATS if value < 1e38]),
        "i": st.sampled_from((-100, -3, 0, 2, 5, 100)),
        "k": st.sampled_from((-(2**63), -3, 0, 2, 5, 2**53 + 1, 2**63 - 1)),
        "s": st.sampled_from(("", "a", "ab", "b\n", "Straße", "\u0661", "12", "é a", "x\ny")),
        "t": st.sampled_from(("", "a", "ab", "\\d")),
        "ok": st.booleans(),
        "ts": st.sampled_from(
            [NOW_US + step for step in (-86_400_000_001, -86_400_000_000, -1, 0, 1, 5_400_000_000)]
        ).map(lambda us: EPOCH + dt.timedelta(microseconds=us)),
    }
)


def _constant(value):
    if isinstance(value, dt.datetime):
        return Moment((value - EPOCH) // dt.timedelta(microseconds=1) * 1000)
    return value


WORDS = [
    "ok",
    "s",
    "a",
    "i",
    "'x'",
    "1",
    "2.5",
    "3u",
    "null",
    "true",
    "b'a'",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    "?",
    ".",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "<",
    "in",
    "size",
    "has",
    "matches",
    "all",
    "map",
    "x",
    "now",
    "duration('1s')",
    "features",
    "`q`",
    "r'\\'",
    "\\",
    "\x00",
    "#",
    "0x",
    "e5",
    "'''",
    "//",
]


@settings(
    max_examples=1500, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=20))
def test_any_text_is_a_condition_or_a_problem_with_its_place(text):
    rules, problems = one_rule({"cel": text}, FEATURES)
    assert rules is not None or all(
        problem.message and problem.at.startswith("$.conditions[0].antecedent")
        for problem in problems
    )


@settings(
    max_examples=800,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(text=_condition(), rows=st.lists(ROW, min_size=2, max_size=6))
def test_engines_answer_what_cel_answers_on_the_values_of_the_row(text, rows):
    rules, problems = one_rule({"cel": text}, FEATURES)
    if rules is None:
        event("refused")
        assert all("Traceback" not in str(problem) for problem in problems)
        return
    event("compared")
    for row in rows:
        names = {name: _constant(value) for name, value in row.items()}
        names["now"] = Moment(NOW_US * 1000)
        try:
            expected = Translator({}, "").value(parse(text), names)
        except CelError:
            assume(False)
        if not isinstance(expected, Constant):
            continue  # CEL has no answer: the language says UNKNOWN or either
        answers = set(answers_of(rules, row, NOW_US).values())
        if answers == {None}:  # infinities are MISSING, nothing else makes a full row UNKNOWN
            assert any(sign in text for sign in "+-*/"), text
            continue
        assert answers == {expected.value}, (text, row)
