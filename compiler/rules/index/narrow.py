"""The rules of a table that a row leaves open, that is, that are not FALSE on it: without code.

The same masks as the generated index, looked up by a loop. It answers the rare question which rules
a row with missing values makes UNKNOWN, where a few microseconds are nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from compiler.rules import domain
from compiler.rules.index.boxes import boxes_of
from compiler.rules.index.masks import STEPPED, Cells, Wordlist, masks_of, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.rules.flat import Cascade
    from compiler.schema import Feature, FeatureMap

MAX_BOXES = 4096
"""Boxes beyond which the masks would take too much memory for a rare question."""


class Narrower:
    """Bits of the rules of one cascade that may be TRUE or UNKNOWN on a row.

    Args:
        cascade: with optimised conditions, no rule left out that can be UNKNOWN.
        features: by name.
        numbers: bit of each rule in the answer, by its path.
    """

    def __init__(self, cascade: Cascade, features: FeatureMap, numbers: Mapping[str, int]) -> None:
        boxes = boxes_of(cascade, features, fallthrough=False)
        self.usable = len(boxes) <= MAX_BOXES and size_of(boxes) <= 2 * MAX_BOXES
        self._bits = [0, *(1 << numbers[box.step.path] for box in reversed(boxes))]
        self._every = (1 << len(boxes)) - 1
        names = {name for box in boxes for name in box.sides} if self.usable else ()
        self._masks = [
            (name, features[name], masks_of(name, features[name], boxes)) for name in names
        ]

    def open(self, row: Mapping[str, Any]) -> int:
        """Bits of the rules that no single feature of a flat row makes FALSE."""
        mask = self._every
        for name, feature, masks in self._masks:
            allowed = _look_up(masks, feature, domain.read_lenient(feature, row.get(name)))
            mask &= self._every if allowed is None else allowed
        found = 0
        while mask:
            place = mask.bit_length()
            found |= self._bits[place]
            mask ^= 1 << place >> 1
        return found


def _look_up(masks: Cells | Wordlist, feature: Feature, value: Any) -> int | None:
    """Mask of a read value; None where the masks do not tell."""
    if isinstance(masks, Wordlist):
        return masks.masks.get(value, masks.other)
    if value is None:
        return masks.missing
    place = bisect_left(masks.cuts, value)
    return masks.masks[
        place if feature.type in STEPPED else place + bisect_right(masks.cuts, value)
    ]
