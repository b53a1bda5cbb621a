"""The typed decoder leaves to the slow one what is no number at all."""

import msgspec
import pytest

from compiler.schema import Feature
from compiler.schema_decode import decode_features_slow, features_struct

FEATURES = {"price": Feature(type="decimal", scale=2, nullable=True)}


@pytest.mark.parametrize("text", ["NaN", "-NaN", "sNaN", "Infinity", "1.234", "1e5000"])
def test_what_is_not_an_exact_decimal_is_refused_by_both_decoders(text):
    raw = msgspec.json.encode({"price": text})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=features_struct(FEATURES))
    found = decode_features_slow(raw, FEATURES, extra="refuse", lenient=False)
    assert [problem.code for problem in found.problems] == ["features.type"]


@pytest.mark.parametrize("value", ["1.20", 0.5, 7, None])
def test_exact_decimals_pass(value):
    raw = msgspec.json.encode({"price": value})
    msgspec.json.decode(raw, type=features_struct(FEATURES))
    assert not decode_features_slow(raw, FEATURES, extra="refuse", lenient=False).problems
