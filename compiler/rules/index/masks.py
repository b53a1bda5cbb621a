"""Masks of one feature over a block of boxes: from a value to the boxes it leaves possible.

Box i of a block of n is bit n-1-i, so that the first box of a mask is its highest bit and
``bit_length`` finds it without another big integer. Cells are found by bisection: over int and
float domains a cut just before a value is one just after the next smaller value, so one bisection
tells all cells; over the others two do. Space: a mask of n bits for each cut or word of the block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compiler.rules import domain
from compiler.rules.spans import Line, Words

if TYPE_CHECKING:
    from compiler.rules.index.boxes import Box
    from compiler.schema import Feature

STEPPED = frozenset({"int", "float", "float32"})


class Cells(Struct, frozen=True):
    """Masks of an ordered feature.

    Attributes:
        cuts: sorted.
        masks: by position. For stepped domains position ``bisect_left(cuts, v)``; position 0, where
            NaN lands, and positions outside int64 hold None, which no mask can be ANDed with. For
            the others position ``bisect_left + bisect_right``.
        missing: mask of a MISSING value.
    """

    cuts: list[Any]
    masks: list[int | None]
    missing: int


class Wordlist(Struct, frozen=True):
    """Masks of a text or boolean feature.

    Attributes:
        masks: by value, None (MISSING) included.
        other: mask of every other value.
    """

    masks: dict[Any, int]
    other: int


def masks_of(name: str, feature: Feature, boxes: list[Box]) -> Cells | Wordlist:
    """Masks of one feature; a box without a side for it stays possible throughout."""
    count = len(boxes)
    start = missing = 0
    toggles: dict[Any, int] = {}
    words = False
    for place, box in enumerate(boxes):
        bit = 1 << (count - 1 - place)
        side = box.sides.get(name)
        if side is None:
            start |= bit
            missing |= bit
            continue
        if side.missing:
            missing |= bit
        if side.values.inside:
            start |= bit
        if isinstance(side.values, Words):
            words = True
            for word in side.values.other:
                toggles[word] = toggles.get(word, 0) ^ bit
        else:
            for mark in side.values.marks:
                toggles[mark] = toggles.get(mark, 0) ^ bit
    if words or feature.type in ("bool", "string", "enum"):
        found: dict[Any, int] = {word: start ^ change for word, change in toggles.items()}
        found[None] = missing
        return Wordlist(found, start)
    if feature.type in STEPPED:
        return _stepped(feature, start, missing, toggles)
    return _dense(start, missing, toggles)


def _stepped(feature: Feature, start: int, missing: int, toggles: dict[Any, int]) -> Cells:
    """One cut for each cell boundary, and one that keeps NaN and what is too small apart."""
    whole = feature.type == "int"
    cuts: list[Any] = [domain.INT_MIN - 1 if whole else -math.inf]
    masks: list[int | None] = [None, start]
    merged: dict[Any, int] = {}
    for (value, after), change in toggles.items():
        cut = value if after else (value - 1 if whole else math.nextafter(value, -math.inf))
        merged[cut] = merged.get(cut, 0) ^ change
    now = start
    for cut in sorted(merged):
        now ^= merged[cut]
        cuts.append(cut)
        masks.append(now)
    if whole:
        cuts.append(domain.INT_MAX)
        masks.append(None)
    return Cells(cuts, masks, missing)


def _dense(start: int, missing: int, toggles: dict[Any, int]) -> Cells:
    """Open cells and points in turn."""
    cuts = sorted({value for value, _ in toggles})
    masks: list[int | None] = [start]
    now = start
    for cut in cuts:
        now ^= toggles.get((cut, False), 0)
        masks.append(now)
        now ^= toggles.get((cut, True), 0)
        masks.append(now)
    return Cells(cuts, masks, missing)


def size_of(boxes: list[Box]) -> int:
    """Cuts and words that a list of boxes names, over all features."""
    return sum(
        len(side.values.marks) if isinstance(side.values, Line) else len(side.values.other)
        for box in boxes
        for side in box.sides.values()
    )
