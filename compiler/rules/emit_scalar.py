"""Python source of a table for one row: an if-chain over locals, first TRUE wins.

What the fast function cannot read (an absent key, None where nothing is nullable) raises, and the
careful twin answers. User text enters only through ``repr`` and constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compiler.rules import ast
from compiler.rules.check import field_names
from compiler.rules.emit_condition import ConditionEmitter, uses_now
from compiler.rules.emit_reads import Binding
from compiler.rules.flat import Cascade, Flat, Step, all_steps
from compiler.rules.passes.negate import push_negation
from compiler.rules.passes.share import shared_parts
from compiler.schema import CONTEXT_PREFIX, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Binding", "ScalarEmitter", "Source", "build", "reads_missing"]


class Source(Struct, frozen=True):
    """Generated text and the constants that it refers to."""

    text: str
    constants: dict[str, Any]


class ScalarEmitter(ConditionEmitter):
    """Emits functions of one row; conditions must be free of negations (see the passes)."""

    def __init__(
        self,
        flat: Flat,
        features: FeatureMap,
        *,
        binding: Binding,
        careful: bool,
        classes: Sequence[str] = (),
        decides: bool = False,
        on_unknown: str = "fallthrough",
        constants: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            features, binding=binding, careful=careful, classes=classes, constants=constants
        )
        self.flat, self.on_unknown = flat, on_unknown
        self.arguments = "f, c, now_us, out" if decides else "f, c, now_us"

    def emit(self, name: str) -> Source:
        """The function ``name(f, c, now_us[, out])`` returning a leaf index.

        The fast one hands a row that it cannot read to the constant ``careful``.
        """
        self.shared = shared_parts(self.flat.cascade)
        self.cascade(self.flat.cascade, 1 if self.careful else 2, frozenset())
        return Source(self.function(name, guarded=not self.careful), self.constants)

    def step(self, name: str, step: Step, condition: ast.Condition, otherwise: str) -> str:
        """Text of a function that settles one rule: a leaf index, or None when it does not decide.

        Args:
            name: of the function.
            step: the rule.
            condition: what is left to be tested, given how the caller found the rule.
            otherwise: what a nested cascade returns, as an expression of the arguments.
        """
        self.lines, self.local, self.kept, self.temps = [], {}, {}, 0
        self._test(step, condition, 1, frozenset(), nested=otherwise)
        self.lines.append("    return None")
        return self.function(name, guarded=False)

    def function(self, name: str, *, guarded: bool) -> str:
        """The lines under a head, with the locals that shared parts start from."""
        pad = "        " if guarded else "    "
        head = [f"def {name}({self.arguments}):", *(["    try:"] if guarded else [])]
        if "now" in self.local:
            head.append(f"{pad}now = instant(now_us)")
        if self.kept:
            head.append(f"{pad}{' = '.join(self.kept.values())} = None")
        tail = (
            [
                "    except (KeyError, TypeError, AttributeError, OverflowError):",
                f"        return careful({self.arguments})",
            ]
            if guarded
            else []
        )
        return "\n".join([*head, *self.lines, *tail]) + "\n"

    def cascade(self, cascade: Cascade, indent: int, known: frozenset[str]) -> None:
        """If-chain of one cascade; ``known`` are the features already read on every path here."""
        for step in cascade.steps:
            known = self._test(step, step.rule.condition, indent, known)
        self.lines.append(f"{'    ' * indent}return {cascade.default}")

    def _test(
        self,
        step: Step,
        condition: ast.Condition,
        indent: int,
        known: frozenset[str],
        *,
        nested: str = "",
    ) -> frozenset[str]:
        """Statements of one rule; what has been read after them."""
        pad = "    " * indent
        names = field_names(condition)
        for name in names:
            if name not in known:
                self.read(name, pad)
        known = known.union(names)
        if uses_now(condition):
            self.local["now"] = "now"
        self.lines.append(f"{pad}if {self.true(condition)}:")
        if nested:
            self.lines.append(f"{pad}    return {nested}")
        elif step.inner is None:
            self.lines.append(f"{pad}    return {step.index}")
        else:
            self.cascade(step.inner, indent + 1, known)
        if self.on_unknown != "fallthrough":
            code = self.flat.unknown if self.flat.unknown >= 0 else -1 - step.index
            false = self.true(push_negation(condition, negated=True))
            self.lines.append(f"{pad}if not ({false}):")
            self.lines.append(f"{pad}    return {code}")
        return known


def build(source: Source, name: str) -> Callable[..., int]:
    """The function that a source defines."""
    space = dict(source.constants)
    exec(compile(source.text, f"<rules {name}>", "exec"), space)  # noqa: S102 - our own emitter's text
    found: Callable[..., int] = space[name]
    return found


def reads_missing(flat: Flat, features: FeatureMap) -> bool:
    """Whether a rule can be UNKNOWN for a request that the schema accepts."""
    for step in all_steps(flat.cascade):
        if computes(step.rule.condition):
            return True
        for name in field_names(step.rule.condition):
            feature = features[name]
            if (feature.nullable and feature.default is None) or name.startswith(CONTEXT_PREFIX):
                return True
    return False


def computes(node: Any) -> bool:
    """Whether a condition has arithmetic, which can be MISSING where nothing it reads is."""
    match node:
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return any(computes(part) for part in parts)
        case ast.Not(of=part):
            return computes(part)
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return isinstance(left, ast.Arith) or isinstance(right, ast.Arith)
    return isinstance(getattr(node, "operand", None), ast.Arith)
