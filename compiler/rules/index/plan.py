"""Which features of a cascade are worth an index, and whether an index is worth more than a chain.

Costs are expectations from the constants of :mod:`compiler.rules.cost` for a row that no rule
matches, the worst case of both engines. A feature is indexed when the rules it rules out save more
than its look-up costs; what is not indexed is tested on the rules that remain.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from compiler.rules import ast, cost
from compiler.rules.check import field_names
from compiler.rules.index.boxes import Box, boxes_of
from compiler.rules.index.masks import size_of
from compiler.rules.spans import Line

if TYPE_CHECKING:
    from compiler.rules.flat import Cascade
    from compiler.schema import FeatureMap

MAX_FEATURES = 64
BLOCKS = (2048, 1024, 512, 256)
"""Boxes per block; a table of more has several blocks, read in order."""
MAX_BYTES = 64 * 1024 * 1024
"""Masks of one table together; smaller blocks are taken to stay below it."""
MARGIN = 0.8
"""An index must be modelled this much cheaper than the chain: it takes memory."""


class Plan(Struct, frozen=True):
    """How one cascade is indexed.

    Attributes:
        blocks: boxes in order, cut into blocks.
        names: indexed features, the most decisive first.
        cost: modelled nanoseconds for a row that nothing matches.
        chain: the same for the if-chain.
    """

    blocks: tuple[tuple[Box, ...], ...]
    names: tuple[str, ...]
    cost: float
    chain: float

    @property
    def pays(self) -> bool:
        """Whether the index is worth its memory."""
        return self.cost < MARGIN * self.chain


def plan_index(cascade: Cascade, features: FeatureMap, *, fallthrough: bool) -> Plan:
    """The best index of one cascade, by the cost model."""
    boxes = boxes_of(cascade, features, fallthrough=fallthrough)
    per_block = block_size(boxes)
    blocks = [boxes[start : start + per_block] for start in range(0, len(boxes), per_block)] or [[]]
    names, price = _choose(boxes, features, len(blocks), per_block, fallthrough=fallthrough)
    return Plan(tuple(map(tuple, blocks)), names, price, chain_cost(cascade))


def block_size(boxes: list[Box]) -> int:
    """Boxes per block such that the masks stay within :data:`MAX_BYTES`, if any size does."""
    cells = size_of(boxes)
    for size in BLOCKS:
        if cells * (min(size, len(boxes)) / 7.5 + 40) <= MAX_BYTES:
            return size
    return BLOCKS[-1]


def chain_cost(cascade: Cascade) -> float:
    """Modelled nanoseconds of the if-chain when no rule of it is TRUE."""
    names = {name for step in cascade.steps for name in field_names(step.rule.condition)}
    tests = sum(cost.condition_cost(step.rule.condition) for step in cascade.steps)
    return cost.READ * len(names) + tests


class _Load:
    """Expected work on the boxes that an index leaves possible, as features are added to it."""

    def __init__(self, boxes: list[Box], *, fallthrough: bool) -> None:
        self.users: dict[str, list[int]] = {}
        self.share = [1.0] * len(boxes)
        self.tests: list[float] = []
        self.open: list[int] = []
        self.sides: list[dict[str, tuple[float, float]]] = []
        for place, box in enumerate(boxes):
            sides = {
                name: (
                    sum(cost.condition_cost(part) for part in side.parts),
                    math.prod(cost.selectivity(part) for part in side.parts),
                )
                for name, side in box.sides.items()
            }
            for name in sides:
                self.users.setdefault(name, []).append(place)
            self.sides.append(sides)
            rest = sum(cost.condition_cost(part) for part in box.rest)
            self.tests.append(rest + sum(price for price, _ in sides.values()))
            settled = fallthrough and box.step.inner is None and not box.rest
            self.open.append(len(sides) + (0 if settled else 1))
        self.total = sum(map(self.of, range(len(boxes))))

    def of(self, place: int) -> float:
        """Expected nanoseconds for one box."""
        if not self.open[place]:
            return 0.0
        return cost.SETTLER + self.share[place] * (cost.STEP + self.tests[place])

    def index(self, name: str) -> None:
        """Take the tests of one feature out of the boxes that use it."""
        for place in self.users[name]:
            self.total -= self.of(place)
            price, share = self.sides[place][name]
            self.tests[place] -= price
            self.share[place] *= share
            self.open[place] -= 1
            self.total += self.of(place)


def _choose(
    boxes: list[Box], features: FeatureMap, blocks: int, per_block: int, *, fallthrough: bool
) -> tuple[tuple[str, ...], float]:
    """Features in the order of use, as many as lower the cost; and that cost."""
    load = _Load(boxes, fallthrough=fallthrough)
    cells: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    for box in boxes:
        for name, side in box.sides.items():
            cells[name] += len(side.values.marks) if isinstance(side.values, Line) else 1
            weight[name] += 1
    bits = min(len(boxes), per_block)
    probes = cost.TAIL * blocks
    names: list[str] = []
    best: tuple[tuple[str, ...], float] = ((), probes + load.total)
    for name, _ in weight.most_common(MAX_FEATURES):
        ordered = features[name].type not in ("bool", "string", "enum")
        probes += blocks * cost.probe_cost(cells[name] // blocks, bits, ordered=ordered)
        load.index(name)
        names.append(name)
        if probes + load.total < best[1]:
            best = tuple(names), probes + load.total
    return best


def left_over(box: Box, names: frozenset[str]) -> tuple[ast.Condition, ...]:
    """Tests of a box that the indexed features do not stand for."""
    return (
        *(part for name, side in box.sides.items() if name not in names for part in side.parts),
        *box.rest,
    )
