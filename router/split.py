"""Sticky shares: which arm of a split a unit belongs to, by integer arithmetic only.

``bucket = (murmur3_x86_32(salt + "/" + unit) * W) >> 32`` with W the sum of the weights; the arm is
the one whose half-open range of cumulated weights holds the bucket.

Source:
    MurmurHash3 by Austin Appleby; flagd's fractional evaluation, version 2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

MASK = 0xFFFF_FFFF


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """Hash of some bytes, 32 bits.

    >>> murmur3_32(b"hello"), murmur3_32(b"")
    (613153351, 0)
    """
    h = seed
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & MASK
        k = (k << 15 | k >> 17) * 0x1B873593 & MASK
        h ^= k
        h = ((h << 13 | h >> 19) & MASK) * 5 + 0xE6546B64 & MASK
    if len(data) > whole:
        k = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & MASK
        h ^= (k << 15 | k >> 17) * 0x1B873593 & MASK
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def arm_chooser(salt: str, weights: Sequence[int]) -> Callable[[str], int]:
    """Function from unit to the index of its arm."""
    ends = tuple(accumulate(weights))
    total = ends[-1]
    prefix = salt + "/"

    def choose(unit: str) -> int:
        return bisect_right(ends, murmur3_32((prefix + unit).encode()) * total >> 32)

    return choose
