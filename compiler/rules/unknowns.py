"""Which rules were UNKNOWN before the deciding one: found only when a row lacks something.

A first generated function looks for MISSING among the features that rules read; most rows have none
and the answer is empty. Otherwise only the rules before the deciding one that read a missing
feature, or compute, are evaluated, each by a function that is compiled at its first use.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from compiler.rules.check import field_names
from compiler.rules.emit_explain import truth_source
from compiler.rules.emit_reads import ReadEmitter
from compiler.rules.emit_scalar import Source, build, computes
from compiler.rules.flat import Cascade, all_steps
from compiler.rules.index.narrow import Narrower
from compiler.rules.passes.optimise import optimise_cascade

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.engine import Target
    from compiler.rules.flat import Flat


FEW = 8
"""Rules that are evaluated at once; of more, the masks first tell which are FALSE."""


class Unknowns:
    """Finds the UNKNOWN rules of a decision on a decoded row (struct binding, ``fallthrough``).

    Args:
        flat: the table as checked, with every rule that a person wrote.
        target: names and kind of the table.
    """

    def __init__(self, flat: Flat, target: Target) -> None:
        self.flat, self.target = flat, target
        self.steps = tuple(all_steps(flat.cascade))
        self._numbers = {step.path: number for number, step in enumerate(self.steps)}
        self.gaps = build(self._gaps_source(), "gaps")
        self._top = sum(1 << self._numbers[step.path] for step in flat.cascade.steps)
        self._before: dict[int, int] = {}
        self._truths: dict[int, Callable[..., bool | None]] = {}

    def find(
        self,
        index: int,
        suspects: int,
        row: tuple[Any, ...],
        flat_row: Callable[[], dict[str, Any]],
    ) -> tuple[str, ...]:
        """Paths of the UNKNOWN rules before leaf ``index``, in order.

        Args:
            index: the deciding leaf.
            suspects: what ``gaps`` returned for the row, a bit per rule.
            row: arguments of the deciding function.
            flat_row: the same row as one mapping, made when many rules are in question.
        """
        if index not in self._before:
            self._before[index] = self._read_before(self.flat.cascade, index)
        suspects &= self._before[index]
        if suspects.bit_count() > FEW and self._narrower.usable:
            suspects &= self._narrower.open(flat_row()) | ~self._top
        found = []
        while suspects:
            low = suspects & -suspects
            suspects ^= low
            number = low.bit_length() - 1
            if self._truth(number)(*row) is None:
                found.append(self.steps[number].path)
        return tuple(found)

    @cached_property
    def _narrower(self) -> Narrower:
        # a rule that never decides can be UNKNOWN, so none is left out
        cascade = optimise_cascade(self.flat.cascade)
        return Narrower(cascade, self.target.features, self._numbers)

    def _truth(self, number: int) -> Callable[..., bool | None]:
        if number not in self._truths:
            target = self.target
            source = truth_source(
                self.steps[number],
                target.features,
                "struct",
                target.classes,
                decides=target.decides,
            )
            self._truths[number] = build(source, "truth")
        return self._truths[number]

    def _read_before(self, cascade: Cascade, index: int) -> int:
        """Bits of the rules that were read before a leaf decided, those it lies in left out."""
        bits = 0
        for step in cascade.steps:
            if step.inner is None:
                if step.index == index:
                    break
            elif index in _leaves(step.inner):
                return bits | self._read_before(step.inner, index)
            bits |= 1 << self._numbers[step.path]
        return bits

    def _gaps_source(self) -> Source:
        """Source of ``gaps(f, c, now_us[, out])``: a bit for each rule that may be UNKNOWN."""
        target = self.target
        emitter = ReadEmitter(target.features, binding="struct", careful=False)
        reads: dict[str, int] = {}
        always = 0
        for number, step in enumerate(self.steps):
            if computes(step.rule.condition):
                always |= 1 << number
            for name in field_names(step.rule.condition):
                reads[name] = reads.get(name, 0) | 1 << number
        arguments = "f, c, now_us, out" if target.decides else "f, c, now_us"
        lines = [f"def gaps({arguments}):", f"    found = {emitter.constant(always)}"]
        for name, bits in reads.items():
            feature = target.features[name]
            if name.startswith("output.") or not (
                emitter.optional(name) or feature.type in ("float", "float32")
            ):
                continue
            lines += [
                f"    v = {emitter.attribute(name)}",
                f"    if v is None or v != v: found |= {emitter.constant(bits)}",
            ]
        return Source("\n".join([*lines, "    return found"]) + "\n", emitter.constants)


def _leaves(cascade: Cascade) -> set[int]:
    found = {cascade.default}
    for step in cascade.steps:
        found |= {step.index} if step.inner is None else _leaves(step.inner)
    return found
