"""The generated one-row encoder is the plain column encoder, bit for bit, for any schema."""

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.errors import AppError
from compiler.models.encode import encode_columns
from compiler.models.encoding import Encoding, Numeric, OneHot, Table
from compiler.models.values import Coded
from compiler.schema import Feature
from serving.columns import ColumnEncoder
from serving.encode import ROW_ERRORS, as_columns, build_encoder, explain_refusal

FEATURES = {
    "i": Feature("int", nullable=True),
    "x": Feature("float", nullable=True),
    "m": Feature("decimal", scale=2, nullable=True),
    "b": Feature("bool", nullable=True),
    "w": Feature("string", nullable=True),
    "e": Feature("enum", values=("a", "b", "c"), nullable=True),
    "d": Feature("date", nullable=True),
    "t": Feature("timestamp", nullable=True),
}
KIND = msgspec.defstruct("Row", [(name, object, None) for name in FEATURES], kw_only=True)
floats32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
finite = st.floats(-3e38, 3e38, allow_nan=False)
words = st.sampled_from(["a", "b", "c", "", "z", "été"])
values = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "x": finite,
    "m": st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    "b": st.booleans(),
    "w": words,
    "e": words,
    "d": st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    "t": st.integers(0, 4_102_444_800).map(lambda second: datetime.fromtimestamp(second, UTC)),
}
rows = st.fixed_dictionaries({name: st.none() | value for name, value in values.items()})


@st.composite
def columns(draw):
    name = draw(st.sampled_from(list(FEATURES)))
    if name in ("w", "e"):
        keys = draw(st.lists(words, min_size=1, unique=True))
    elif name in ("i", "b"):
        keys = draw(st.lists(st.integers(-3, 3), min_size=1, unique=True))
    else:
        return Numeric(name, draw(st.none() | floats32))
    width = draw(st.integers(1, 4))
    if draw(st.booleans()):
        slot = st.integers(-1, width - 1)
        hot = tuple(draw(slot) for _ in keys)
        case = st.none() | slot
        return OneHot(name, width, tuple(keys), hot, draw(case), draw(case))
    row = st.tuples(*[st.none() | floats32] * width)
    table = tuple(draw(row) for _ in keys)
    return Table(name, width, tuple(keys), table, draw(st.none() | row), draw(st.none() | row))


@settings(max_examples=300, deadline=None)
@given(st.lists(columns(), min_size=1, max_size=5), rows)
def test_one_row_encoder_equals_the_column_encoder(parts, row):
    encoding = Encoding(tuple(parts))
    struct = KIND(**row)
    buffer = np.zeros(encoding.width, np.float32)
    encode = build_encoder(encoding, FEATURES, memoryview(buffer).cast("B"))
    try:
        expected = encode_columns(as_columns(struct, encoding), 1, encoding, FEATURES)[0]
    except AppError:
        with pytest.raises(ROW_ERRORS):
            encode(struct)
        with pytest.raises(AppError):
            explain_refusal(struct, encoding, FEATURES)
        return
    encode(struct)
    assert buffer.tobytes() == expected.tobytes() or _same_but_nan_bits(buffer, expected)


def _same_but_nan_bits(left, right):
    return bool(np.array_equal(left, right, equal_nan=True))


def one(parts, **row):
    encoding = Encoding(parts)
    buffer = np.zeros(encoding.width, np.float32)
    build_encoder(encoding, FEATURES, memoryview(buffer).cast("B"))(KIND(**row))
    return buffer.tolist()


def test_decimal_date_and_time_become_numbers():
    parts = (Numeric("m"), Numeric("d"), Numeric("t"), Numeric("b"))
    row = {
        "m": Decimal("12.25"),
        "d": date(1970, 1, 11),
        "t": datetime(1970, 1, 1, 0, 1, tzinfo=UTC),
        "b": True,
    }
    assert one(parts, **row) == [12.25, 10.0, 60.0, 1.0]


def test_number_is_rounded_to_float32_once():
    assert one((Numeric("x"),), x=0.1) == [float(np.float32(0.1))]


@pytest.mark.parametrize("value", [1e39, -1e39, float("inf")])
def test_number_beyond_float32_is_worded(value):
    encoding = Encoding((Numeric("x"),))
    with pytest.raises(AppError, match="finite float32 for x") as caught:
        explain_refusal(KIND(x=value), encoding, FEATURES)
    assert caught.value.code == "features.range"


def test_category_the_model_refuses_is_worded():
    encoding = Encoding((OneHot("e", 2, ("a", "b"), (0, 1), missing=-1, unseen=None),))
    with pytest.raises(AppError, match="category of e seen in training, got 'c'") as caught:
        explain_refusal(KIND(e="c"), encoding, FEATURES)
    assert caught.value.code == "features.enum"


ARRAYS = {
    "i": (np.int64, st.integers(-(2**63), 2**63 - 1)),
    "x": (np.float64, st.floats(width=64)),
    "m": (np.float32, st.floats(width=32)),
    "b": (np.bool_, st.booleans()),
}


@st.composite
def tables(draw):
    """Columns as bulk scoring brings them: arrays of numbers, words as codes, some absent."""
    count = draw(st.integers(0, 5))
    found = {}
    for name, (kind, value) in ARRAYS.items():
        if draw(st.integers(0, 9)):
            column = draw(st.lists(value, min_size=count, max_size=count))
            how = draw(st.integers(0, 9))
            found[name] = column if how == 0 else np.asarray(column, kind)
            if how == 1 and column:
                found[name] = [None, *column[1:]]
    for name in ("w", "e"):
        known = tuple(draw(st.lists(words, unique=True)))
        codes = st.lists(st.integers(-1, len(known) - 1), min_size=count, max_size=count)
        found[name] = Coded(np.asarray(draw(codes), np.intp), known)
    return found, count


@settings(max_examples=400, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(columns(), min_size=1, max_size=5), tables(), st.sampled_from([1, 1000]))
def test_prepared_column_encoder_equals_the_plain_one(parts, table, many_rows):
    encoding = Encoding(tuple(parts))
    given_columns, count = table
    prepared = ColumnEncoder(encoding, FEATURES, many_rows=many_rows)
    try:
        expected = encode_columns(given_columns, count, encoding, FEATURES)
    except AppError as error:
        refusal = (error.code, error.at, error.message)
        with pytest.raises(AppError) as caught:
            prepared.encode(given_columns, count)
        other = caught.value
        assert (other.code, other.at, other.message) == refusal
        return
    found = prepared.encode(given_columns, count)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == (
        expected.shape, np.dtype(np.float32), True,
    )  # fmt: skip
    assert _same_but_nan_bits(found, expected)
