"""The functions of one row: which generated code a table gets, and how it falls back.

``chain`` is an if-chain, ``index`` a bitmask index; both hand what they cannot read to one careful
chain, which is built the first time that happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from compiler.rules.emit_scalar import Binding, ScalarEmitter, Source, build
from compiler.rules.index.emit import index_source
from compiler.rules.index.plan import Plan, plan_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.flat import Flat
    from compiler.schema import FeatureMap

Engine = Literal["chain", "index"]


class Target(Struct, frozen=True):
    """What is emitted, and for whom.

    Attributes:
        flat: the optimised table.
        features: every name that a condition may read.
        classes: of the model's answer, in order.
        decides: whether it is a decision table, whose functions take ``out``.
        on_unknown: ``fallthrough``, ``error`` or ``consequent``.
    """

    flat: Flat
    features: FeatureMap
    classes: tuple[str, ...]
    decides: bool
    on_unknown: str

    def emitter(self, binding: Binding, *, careful: bool) -> ScalarEmitter:
        """A fresh emitter of the whole table."""
        return ScalarEmitter(
            self.flat,
            self.features,
            binding=binding,
            careful=careful,
            classes=self.classes,
            decides=self.decides,
            on_unknown=self.on_unknown,
        )

    def plan(self) -> Plan:
        """The index that the table would get, and whether it pays."""
        fallthrough = self.on_unknown == "fallthrough"
        return plan_index(self.flat.cascade, self.features, fallthrough=fallthrough)


def scalar_source(target: Target, binding: Binding, engine: Engine | None = None) -> Source:
    """Source of the engine asked for, of the cheaper one by the cost model without."""
    plan = None if engine == "chain" else target.plan()
    if plan is None or (engine is None and not plan.pays):
        return target.emitter(binding, careful=False).emit("route")
    return index_source(
        lambda: target.emitter(binding, careful=False),
        target.flat.cascade,
        plan,
        fallthrough=target.on_unknown == "fallthrough",
    )


def build_scalar(target: Target, binding: Binding, source: Source) -> Callable[..., int]:
    """The function of a source, with its careful twin behind it."""
    source.constants["careful"] = _twin(target, binding)
    return build(source, "route")


def _twin(target: Target, binding: Binding) -> Callable[..., int]:
    """The careful chain, compiled at its first call: most tables never need it."""
    built: list[Callable[..., int]] = []

    def careful(*row: Any) -> int:
        if not built:
            built.append(build(target.emitter(binding, careful=True).emit("careful"), "careful"))
        return built[0](*row)

    return careful
