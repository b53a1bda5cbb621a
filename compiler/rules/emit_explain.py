"""Generated functions that say why: every test of a rule with its value and what it read.

They are compiled rule by rule at first use, from the conditions as written, so the function that
decides pays nothing for them and a look at one decision compiles only the rules that it read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.emit_condition import uses_now
from compiler.rules.emit_scalar import Binding, ScalarEmitter, Source, build
from compiler.rules.explanation import (
    Explanation,
    LeafTruth,
    RuleTruth,
    leaf_truth,
    leaves_of,
    letter,
)
from compiler.rules.flat import Cascade, Flat, Step
from compiler.rules.passes.negate import push_negation
from compiler.rules.print_text import print_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compiler.schema import FeatureMap


MAX_LEAVES = 500
"""Tests of one rule beyond which compiling takes longer than a look by the interpreter."""

MAX_LOOKS = 2_000
"""Rules whose functions are kept; those behind them are left to the interpreter."""


class Explainer:
    """Explains decisions on flat rows; equal to :func:`compiler.rules.explanation.explain`."""

    def __init__(self, flat: Flat, features: FeatureMap, on_unknown: str) -> None:
        self.flat, self.features, self.on_unknown = flat, features, on_unknown
        self._looks: dict[str, Callable[..., Any]] = {}

    def explain(self, row: Mapping[str, Any], now_us: int = 0) -> Explanation:
        """The decision on a flat row (``context.x`` and ``output.x`` included), with every step."""
        seen: list[RuleTruth] = []
        unknown: list[str] = []
        index = self._cascade(self.flat.cascade, row, now_us, seen, unknown)
        rule = self.flat.ids[index] if index >= 0 else unknown[-1]
        return Explanation(index, rule, tuple(unknown), tuple(seen))

    def _cascade(
        self,
        cascade: Cascade,
        row: Mapping[str, Any],
        now_us: int,
        seen: list[RuleTruth],
        unknown: list[str],
    ) -> int:
        for step in cascade.steps:
            look = self._looks.get(step.path)
            if look is None:
                look = self._looks[step.path] = self._look(step)
            value, leaves = look(row, None, now_us)
            seen.append(RuleTruth(step.path, letter(value), leaves))
            if value is True:
                if step.inner is None:
                    return step.index
                return self._cascade(step.inner, row, now_us, seen, unknown)
            if value is None:
                unknown.append(step.path)
                if self.on_unknown != "fallthrough":
                    return self.flat.unknown if self.flat.unknown >= 0 else -1 - step.index
        return cascade.default

    def _look(self, step: Step) -> Callable[..., Any]:
        leaves = leaves_of(step.rule.condition)
        if len(leaves) <= MAX_LEAVES and len(self._looks) < MAX_LOOKS:
            return build(look_source(step, self.features), "look")

        def look(row: Mapping[str, Any], _: None, now_us: int) -> Any:
            reader = reference.Reader(self.features, row, now_us)
            told = tuple(leaf_truth(leaf, reader) for leaf in leaves)
            return reference.truth(step.rule.condition, reader), told

        return look


def look_source(step: Step, features: FeatureMap) -> Source:
    """Source of ``look(f, c, now_us)``: the value of one rule, and its leaves in order."""
    emitter = _emitter(features, "row")
    leaves = leaves_of(step.rule.condition)
    _head(emitter, step.rule.condition)
    shown = []
    letters = emitter.constant({True: "T", False: "F", None: "U"})
    leaf_type = emitter.constant(LeafTruth)
    for place, leaf in enumerate(leaves):
        emitter.lines.append(f"    a{place} = {emitter.kleene(leaf)}")
        read = ", ".join(f"{name!r}: f.get({name!r})" for name in field_names(leaf))
        text = emitter.constant(print_condition(leaf))
        shown.append(f"{leaf_type}({text}, {letters}[a{place}], {{{read}}})")
    value = _combined(step.rule.condition, iter(range(len(leaves))))
    emitter.lines.append(f"    return {value}, ({''.join(f'{each}, ' for each in shown)})")
    return Source(emitter.function("look", guarded=False), emitter.constants)


def truth_source(
    step: Step, features: FeatureMap, binding: Binding, classes: tuple[str, ...], *, decides: bool
) -> Source:
    """Source of ``truth(f, c, now_us[, out])``: the value of one rule, whatever the row holds."""
    emitter = _emitter(features, binding, classes, decides=decides)
    condition = push_negation(step.rule.condition)
    _head(emitter, condition)
    emitter.lines.append(f"    return {emitter.kleene(condition)}")
    return Source(emitter.function("truth", guarded=False), emitter.constants)


def _emitter(
    features: FeatureMap, binding: Binding, classes: tuple[str, ...] = (), *, decides: bool = False
) -> ScalarEmitter:
    empty = Flat(Cascade((), 0), (), (), -1)
    return ScalarEmitter(
        empty, features, binding=binding, careful=True, classes=classes, decides=decides
    )


def _head(emitter: ScalarEmitter, condition: ast.Condition) -> None:
    for name in field_names(condition):
        emitter.read(name, "    ")
    if uses_now(condition):
        emitter.local["now"] = "now"


def _combined(node: ast.Condition, numbers: Iterator[int]) -> str:
    """Value of a condition from the locals of its leaves, which are numbered in document order."""
    match node:
        case ast.And(of=parts):
            return f"least_of({', '.join(_combined(part, numbers) for part in parts)})"
        case ast.Or(of=parts):
            return f"greatest_of({', '.join(_combined(part, numbers) for part in parts)})"
        case ast.Xor(of=parts, negated=negated):
            values = [_combined(part, numbers) for part in parts]
            return f"parity({', '.join([*values, *['True'] * negated])})"
        case ast.Not(of=part):
            return f"parity({_combined(part, numbers)}, True)"
    return f"a{next(numbers)}"
