"""Sticky shares: the same unit, the same arm, in every form of the arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.rules import splits
from compiler.rules.ast import Arm, SplitConsequent
from compiler.rules.splits import (
    UNIT_MISSING,
    UnitError,
    arm_chooser,
    assign,
    assign_many,
    murmur3,
    murmur3_many,
    share_moved,
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
    units += [-(2**63), 10**30, "\0", "a\0", "a\0\0", "1", "01", " ", "/", "s/7"]
    shares = split(50, 30, 20)
    assert assign_many(shares, units).tolist() == [assign(shares, unit).arm for unit in units]


def test_a_million_units_land_alike_one_by_one_and_at_once():
    shares = split(333, 1, 0, 666, salt="ramp", layer="l")
    units = [f"{i:x}-{i * 2654435761 % 10007}" for i in range(1_000_000)]
    choose = arm_chooser(shares)
    at_once = assign_many(shares, units)
    assert at_once.dtype == np.int16
    one_by_one = np.fromiter(map(choose, units), dtype=np.int16, count=len(units))
    assert np.array_equal(at_once, one_by_one)
    counts = np.bincount(at_once, minlength=4)
    assert counts[2] == 0
    assert counts.sum() == len(units)
    expected = np.array([0.333, 0.001, 0.0, 0.666])
    spread = 5 * np.sqrt(expected * (1 - expected) * len(units))
    assert (np.abs(counts - expected * len(units)) <= spread).all()


def test_documented_vectors_hold():
    shares = split(50, 30, 20, salt="salt")
    for unit, hashed, bucket, arm in (
        ("user-1", 0x79ED631A, 47, 0),
        ("user-2", 0xF074CA9B, 93, 2),
        ("47392", 0x8346CC4B, 51, 1),
        (47392, 0x8346CC4B, 51, 1),
        ("ä€", 0xA39ACE37, 63, 1),
    ):
        assert murmur3(f"salt/{unit}".encode()) == hashed
        assert (assign(shares, unit).bucket, assign(shares, unit).arm) == (bucket, arm)
    layered = split(50, 30, 20, salt="salt", layer="layer")
    assert murmur3(b"layer/salt/47392") == 0xB78CEB8F
    assert (assign(layered, 47392).bucket, assign(layered, 47392).arm) == (71, 1)


RAMP = [(weight, 100 - weight) for weight in (0, 1, 5, 25, 50, 51, 100)]


def test_along_a_ramp_of_one_boundary_a_unit_changes_once_and_never_back():
    arms = np.stack([assign_many(split(*weights), list(range(20_000))) for weights in RAMP])
    assert (np.diff(arms, axis=0) <= 0).all()  # from the last arm to the first, never back
    assert set(arms[0]) == {1}
    assert set(arms[-1]) == {0}


def test_ramp_between_neighbours_leaves_every_other_arm_alone():
    units = list(range(20_000))
    before = assign_many(split(20, 10, 50, 20), units)
    after = assign_many(split(20, 35, 25, 20), units)
    assert set(
        zip(before[before != after].tolist(), after[before != after].tolist(), strict=True)
    ) == {(2, 1)}


def test_weights_in_the_same_proportion_move_nobody():
    assert share_moved(split(1, 2, 1), split(25, 50, 25)) == 0
    units = list(range(5_000))
    assert np.array_equal(assign_many(split(1, 2, 1), units), assign_many(split(25, 50, 25), units))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=4).filter(any),
    st.lists(st.integers(0, 50), min_size=2, max_size=4).filter(any),
    st.booleans(),
)
def test_share_moved_is_what_moves(old, new, resalted):
    before, after = split(*old), split(*new, salt="t" if resalted else "s")
    units = list(range(4_000))
    moved = (assign_many(before, units) != assign_many(after, units)).mean()
    exact = float(share_moved(before, after))
    assert abs(moved - exact) <= 5 * (exact * (1 - exact) / len(units)) ** 0.5 + 1e-9
    if not resalted:
        assert share_moved(before, after) == share_moved(after, before)
        assert (share_moved(before, after) == 0) == (moved == 0)


def test_edges_of_the_hash_space_lie_in_the_first_and_last_bucket():
    for total in (1, 2, 3, 7, 100, 2**31 - 1):
        assert 0 * total >> 32 == 0
        assert (2**32 - 1) * total >> 32 == total - 1
        intervals = splits._intervals(split(total // 2, total - total // 2))
        assert (intervals[0][1], intervals[-1][2]) == (0, 2**32)
        for arm, (_, low, high) in enumerate(intervals):
            for hashed in {low, high - 1} if high > low else ():
                ends = [total // 2, total]
                assert sum(end <= hashed * total >> 32 for end in ends) == arm


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
