"""Python source of a bitmask index over one table, for one row.

    v0 = f.income
    m = masks[bisect_left(cuts, v0)]        one per indexed feature, ANDed
    return leaves[m.bit_length()]           the first rule left, 0 when none is

Rules with tests left over are settled by a function of their own, in order. What the fast function
cannot read (None, NaN or a wrong type where nothing is nullable) finds the mask None, which raises,
and the careful chain answers.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from compiler.rules import ast
from compiler.rules.emit_scalar import NEXT, Source
from compiler.rules.index.masks import STEPPED, Cells, Wordlist, masks_of
from compiler.rules.index.plan import Plan, left_over, plan_index
from compiler.rules.passes.order import order_parts
from compiler.rules.passes.share import shared_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.emit_scalar import ScalarEmitter
    from compiler.rules.flat import Cascade
    from compiler.rules.index.boxes import Box

EXIT_AFTER = 3
"""Features after which a mask is looked at for being empty."""


class IndexEmitter:
    """Emits functions of one row; nested cascades get an index of their own when it pays.

    Attributes:
        texts: functions emitted so far.
        constants: what they refer to.
    """

    def __init__(self, fresh: Callable[[], ScalarEmitter], *, fallthrough: bool) -> None:
        emitter = fresh()
        self._fresh, self.fallthrough = fresh, fallthrough
        self.features, self.arguments = emitter.features, emitter.arguments
        self.constants = emitter.constants
        self.constants.update(bisect_left=bisect_left, bisect_right=bisect_right)
        self.texts: list[str] = []
        self._numbers = itertools.count()

    def emit(self, cascade: Cascade, plan: Plan) -> Source:
        """The function ``route(f, c, now_us[, out])`` with its guard."""
        if len(plan.blocks) == 1:  # guard and block are one function
            self._block(plan.blocks[0], plan, cascade.default, "route", guarded=True)
            return Source("".join(self.texts), self.constants, tuple(self.texts))
        call = self._indexed(cascade, plan)
        self.texts.append(
            f"def route({self.arguments}):\n"
            "    try:\n"
            f"        return {call}({self.arguments})\n"
            "    except (KeyError, TypeError, AttributeError, OverflowError):\n"
            f"        return careful({self.arguments})\n"
        )
        return Source("".join(self.texts), self.constants, tuple(self.texts))

    def _emitter(self) -> ScalarEmitter:
        emitter = self._fresh()
        emitter.constants = self.constants
        return emitter

    def _name(self, word: str) -> str:
        return f"{word}{next(self._numbers)}"

    def _indexed(self, cascade: Cascade, plan: Plan) -> str:
        """Name of a function over all blocks of a plan."""
        last = len(plan.blocks) - 1
        lines = []
        for number, block in enumerate(plan.blocks):
            end = cascade.default if number == last else NEXT
            name = self._name("block")
            self._block(block, plan, end, name, guarded=False)
            lines.append(f"    r = {name}({self.arguments})\n")
            lines.append(f"    if r != {NEXT}: return r\n" if number < last else "")
        name = self._name("blocks")
        self.texts.append(f"def {name}({self.arguments}):\n{''.join(lines)}    return r\n")
        return name

    def _nested(self, cascade: Cascade) -> str:
        """Name of a function of a nested cascade, chain or index as the model says."""
        plan = plan_index(cascade, self.features, fallthrough=self.fallthrough)
        if plan.pays:
            return self._indexed(cascade, plan)
        emitter = self._emitter()
        emitter.shared = shared_parts(cascade)
        emitter.cascade(cascade, 1, frozenset())
        name = self._name("chain")
        self.texts.append(emitter.function(name, guarded=False))
        return name

    def _block(
        self, boxes: tuple[Box, ...], plan: Plan, end: int, name: str, *, guarded: bool
    ) -> None:
        """The function of one block."""
        leaves, steps = self._settlers(boxes, plan, end)
        emitter = self._emitter()
        pad = "        " if guarded else "    "
        lines = emitter.lines
        watch = not self.fallthrough
        if watch:
            lines.append(f"{pad}leaves = {emitter.constant(leaves)}")
        gapped = emitter.constant([end, *[None] * len(boxes)]) if watch else ""
        used = [each for each in plan.names if any(each in box.sides for box in boxes)]
        every = (1 << len(boxes)) - 1
        if len(used) < 2:
            lines.append(f"{pad}m = {emitter.constant(every)}")
        for place, feature in enumerate(used):
            emitter.read(feature, pad)
            sign = "=" if place == 0 and len(used) > 1 else "&="
            self._narrow(emitter, feature, list(boxes), sign, pad, gapped)
            if EXIT_AFTER <= place + 1 < len(used):
                lines.append(f"{pad}if not m: return {end}")
        exact = self.fallthrough and None not in leaves
        self._first(emitter, pad, "leaves" if watch else emitter.constant(leaves), steps, exact)
        self.texts.append(emitter.function(name, guarded=guarded))

    def _first(
        self, emitter: ScalarEmitter, pad: str, leaves: str, steps: list[str], exact: bool
    ) -> None:
        """Statements from a mask to the deciding leaf."""
        if exact:
            emitter.lines.append(f"{pad}return {leaves}[m.bit_length()]")
            return
        bits = emitter.constant([1 << place >> 1 for place in range(len(steps))])
        table = self._name("steps")
        self.texts.append(f"{table} = [{', '.join(steps)}]\n")
        emitter.lines += [
            f"{pad}while True:",
            f"{pad}    place = m.bit_length()",
            f"{pad}    found = {leaves}[place]",
            f"{pad}    if found is not None: return found",
            f"{pad}    found = {table}[place]({self.arguments})",
            f"{pad}    if found is not None: return found",
            f"{pad}    m ^= {bits}[place]",
        ]

    def _settlers(
        self, boxes: tuple[Box, ...], plan: Plan, end: int
    ) -> tuple[list[int | None], list[str]]:
        """By bit length: the leaf of a settled box, or the name of the function that settles it."""
        leaves: list[int | None] = [end, *[None] * len(boxes)]
        steps = ["None"] * (len(boxes) + 1)
        indexed = frozenset(plan.names)
        inner: dict[int, str] = {}
        for place, box in enumerate(boxes):
            bit = len(boxes) - place
            rest = left_over(box, indexed)
            if not rest and box.step.inner is None:
                leaves[bit] = box.step.index
                if self.fallthrough:
                    continue
            call = ""
            if box.step.inner is not None:
                known = inner.get(box.step.index) or self._nested(box.step.inner)
                inner[box.step.index] = known
                call = f"{known}({self.arguments})"
            condition = box.step.rule.condition
            if self.fallthrough:
                condition = order_parts(ast.And(rest)) if len(rest) != 1 else rest[0]
            name = self._name("settle")
            self.texts.append(self._emitter().step(name, box.step, condition, call))
            steps[bit] = name
        return leaves, steps

    def _narrow(  # noqa: PLR0917 - one statement, called once
        self,
        emitter: ScalarEmitter,
        name: str,
        boxes: list[Box],
        sign: str,
        pad: str,
        gapped: str,
    ) -> None:
        """Statements that AND the mask with what one feature allows."""
        feature, local = self.features[name], emitter.local[name]
        found = masks_of(name, feature, boxes)
        if isinstance(found, Wordlist):
            look = f"{emitter.constant(found.masks.get)}({local}, {emitter.constant(found.other)})"
            emitter.lines.append(f"{pad}m {sign} {look}")
            if gapped:
                emitter.lines.append(f"{pad}if {local} is None: leaves = {gapped}")
            return
        look, present = self._find(emitter, found, local, stepped=feature.type in STEPPED)
        if feature.type in STEPPED and not emitter.optional(name):
            emitter.lines.append(f"{pad}m {sign} {look}")
            return
        missing = emitter.constant(found.missing)
        emitter.lines.append(f"{pad}m {sign} {look} if {present} else {missing}")
        if gapped:
            emitter.lines.append(f"{pad}if not ({present}): leaves = {gapped}")

    @staticmethod
    def _find(
        emitter: ScalarEmitter, cells: Cells, local: str, *, stepped: bool
    ) -> tuple[str, str]:
        """Expressions of the mask of a present value, and of its being present."""
        cuts, masks = emitter.constant(cells.cuts), emitter.constant(cells.masks)
        if stepped:
            return f"{masks}[bisect_left({cuts}, {local})]", f"{local} == {local}"
        place = f"bisect_left({cuts}, {local}) + bisect_right({cuts}, {local})"
        return f"{masks}[{place}]", f"{local} is not None"


def index_source(
    fresh: Callable[[], ScalarEmitter], cascade: Cascade, plan: Plan, *, fallthrough: bool
) -> Source:
    """Source of the index of a whole table."""
    return IndexEmitter(fresh, fallthrough=fallthrough).emit(cascade, plan)
