"""Sticky shares: the same unit, the same arm, in every form of the arithmetic."""

import numpy as np
import pytest

from compiler.rules.ast import Arm, SplitConsequent
from compiler.rules.splits import (
    UNIT_MISSING,
    UnitError,
    arm_chooser,
    assign,
    assign_many,
    murmur3,
    murmur3_many,
)

# Published vectors of MurmurHash3 x86 32-bit with seed 0.
VECTORS = {
    b"": 0x00000000,
    b"test": 0xBA6BD213,
    b"Hello, world!": 0xC0363E43,
    b"The quick brown fox jumps over the lazy dog": 0x2E4FF723,
    b"\xff\xff\xff\xff": 0x76293B50,
    b"!Ce\x87": 0xF55B516B,
    b"!Ce": 0x7E4A8634,
    b"!C": 0xA0F7B07A,
    b"!": 0x72661CF4,
    b"\0\0\0\0": 0x2362F9DE,
    b"\0\0\0": 0x85F0B427,
    b"\0\0": 0x30F4C306,
    b"\0": 0x514E28B7,
}


def split(*weights, salt="s", layer=""):
    arms = tuple(Arm(f"a{i}", weight, f"m{i}") for i, weight in enumerate(weights))
    return SplitConsequent(arms, salt, layer=layer)


@pytest.mark.parametrize(("data", "expected"), VECTORS.items())
def test_hash_gives_the_published_vectors(data, expected):
    assert murmur3(data) == expected
    assert murmur3_many([data]).tolist() == [expected]


def test_vector_form_equals_scalar_form_for_many_units():
    units = [f"unit-{i}" * (1 + i % 3) for i in range(30_000)] + ["", None, 7, "ä€", "x" * 200]
    shares = split(50, 30, 20)
    assert assign_many(shares, units).tolist() == [assign(shares, unit).arm for unit in units]


def test_bound_form_equals_scalar_form():
    shares = split(1, 2, 3, layer="l")
    choose = arm_chooser(shares)
    assert all(choose(str(i)) == assign(shares, i).arm for i in range(5_000))


def test_shares_are_those_of_the_weights():
    counts = np.bincount(assign_many(split(50, 30, 20), list(range(100_000))))
    expected = np.array([0.5, 0.3, 0.2])
    deviation = np.abs(counts / 100_000 - expected)
    assert (deviation < 5 * np.sqrt(expected * (1 - expected) / 100_000)).all()


def test_raising_a_share_only_adds_units_to_its_arm():
    before = assign_many(split(10, 90), list(range(20_000)))
    after = assign_many(split(40, 60), list(range(20_000)))
    assert (after[before == 0] == 0).all()
    assert (after == 0).sum() > (before == 0).sum()


def test_missing_unit_takes_the_first_arm_without_a_hash():
    for unit in (None, ""):
        assert assign(split(1, 99), unit).reason == UNIT_MISSING
        assert assign(split(1, 99), unit).arm == 0


def test_arm_without_weight_gets_nobody():
    assert set(assign_many(split(0, 1, 0), list(range(5_000)))) == {1}


def test_salts_and_layers_draw_independently():
    units = list(range(20_000))
    one = assign_many(split(1, 1, salt="a"), units)
    for other in (split(1, 1, salt="b"), split(1, 1, salt="a", layer="l")):
        agreement = (one == assign_many(other, units)).mean()
        assert 0.47 < agreement < 0.53


@pytest.mark.parametrize("unit", [True, 1.5, b"x", ["x"]])
def test_unit_of_another_type_is_refused(unit):
    with pytest.raises(UnitError):
        assign(split(1, 1), unit)
