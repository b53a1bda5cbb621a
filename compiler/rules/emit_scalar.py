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
from compiler.rules.explanation import leaves_of
from compiler.rules.flat import Cascade, Flat, Step, all_steps
from compiler.rules.passes.negate import push_negation
from compiler.rules.passes.share import shared_parts
from compiler.schema import CONTEXT_PREFIX, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Binding", "ScalarEmitter", "Source", "build", "reads_missing"]


MAX_TESTS = 4_000
"""Tests in one generated function: Python's compiler takes memory in proportion to the largest."""
NEXT = -(1 << 62)
"""What a part of a long chain or index returns when none of its rules decides."""


class Source(Struct, frozen=True):
    """Generated text and the constants that it refers to.

    Attributes:
        text: all of it, to be read.
        constants: by name.
        parts: the same in pieces that are compiled one after the other, if there are several.
    """

    text: str
    constants: dict[str, Any]
    parts: tuple[str, ...] = ()


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
        chunks = chunks_of(self.flat.cascade)
        if len(chunks) == 1:
            return Source(self._chunk(name, chunks[0], guarded=not self.careful), self.constants)
        parts = [self._chunk(f"part{n}", each, guarded=False) for n, each in enumerate(chunks)]
        self._start()
        for number in range(len(parts)):
            self.lines.append(f"        r = part{number}({self.arguments})")
            self.lines.append(f"        if r != {NEXT}: return r")
        if self.careful:
            self.lines.insert(0, "    if True:")
        parts.append(self.function(name, guarded=not self.careful))
        return Source("".join(parts), self.constants, tuple(parts))

    def _chunk(self, name: str, cascade: Cascade, *, guarded: bool) -> str:
        self._start()
        self.shared = shared_parts(cascade)
        self.cascade(cascade, 2 if guarded else 1, frozenset())
        return self.function(name, guarded=guarded)

    def _start(self) -> None:
        self.lines, self.local, self.kept, self.temps = [], {}, {}, 0

    def step(self, name: str, step: Step, condition: ast.Condition, otherwise: str) -> str:
        """Text of a function that settles one rule: a leaf index, or None when it does not decide.

        Args:
            name: of the function.
            step: the rule.
            condition: what is left to be tested, given how the caller found the rule.
            otherwise: what a nested cascade returns, as an expression of the arguments.
        """
        self._start()
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


def chunks_of(cascade: Cascade) -> list[Cascade]:
    """The cascade in runs of at most :data:`MAX_TESTS` tests, but at least one rule.

    All runs but the last end with :data:`NEXT`.
    """
    runs: list[list[Step]] = [[]]
    room = MAX_TESTS
    for step in cascade.steps:
        tests = count_tests(step)
        if runs[-1] and tests > room:
            runs.append([])
            room = MAX_TESTS
        runs[-1].append(step)
        room -= tests
    ends = [NEXT] * (len(runs) - 1) + [cascade.default]
    return [Cascade(tuple(run), end) for run, end in zip(runs, ends, strict=True)]


def count_tests(step: Step) -> int:
    """Leaves of a rule and of the cascades in it."""
    inner = sum(map(count_tests, step.inner.steps)) if step.inner is not None else 0
    return len(leaves_of(step.rule.condition)) + inner


def build(source: Source, name: str) -> Callable[..., Any]:
    """The function that a source defines."""
    space = dict(source.constants)
    for text in source.parts or (source.text,):
        exec(compile(text, f"<rules {name}>", "exec"), space)  # noqa: S102 - our own emitter's text
    found: Callable[..., Any] = space[name]
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
