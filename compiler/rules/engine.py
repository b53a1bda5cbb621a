"""The functions of one row: which generated code a table gets, and how it falls back.

``chain`` is an if-chain, ``index`` a bitmask index; both hand what they cannot read to one careful
chain, which is built the first time that happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from compiler.rules.emit_scalar import Binding, ScalarEmitter, Source, build

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


def chain_source(target: Target, binding: Binding) -> Source:
    """Source of the if-chain."""
    return target.emitter(binding, careful=False).emit("route")


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
