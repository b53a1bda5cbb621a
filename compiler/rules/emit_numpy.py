"""Python source of a table over numpy columns: unique tests once per chunk, first TRUE wins."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.emit_scalar import Source
from compiler.rules.flat import Cascade, Flat
from compiler.rules.passes.negate import push_negation
from compiler.rules.vector import VECTOR
from compiler.schema import Feature, FeatureMap

_NUMBERS = frozenset({"int", "float", "float32"})
_PYTHON = {"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_UFUNC = {
    "=": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}

_MASK = re.compile(r"\bm\d+\b")
"""Locals of masks; user text is in constants, never in a line."""

WIDE = 64
"""Masks of one line: Python compiles a chain of some thousand by recursion, and refuses."""
SEGMENT = 32
"""Entries of one generated function; between two, rows that are decided can be left out."""


class Entry(Struct, frozen=True):
    """Where rows may be decided, in the order of precedence.

    Attributes:
        scope: conditions that must be TRUE, outermost first.
        unknown: a condition that must be UNKNOWN besides; None asks for no more.
        index: what such rows get.
    """

    scope: tuple[ast.Condition, ...]
    unknown: ast.Condition | None
    index: int


class Lookup(Struct, frozen=True):
    """A test that is made once per distinct value of a coded column."""

    slot: int
    test: Callable[[Any, int], bool]


def entries(flat: Flat, on_unknown: str) -> list[Entry]:
    """A table without its nesting: the first entry that holds decides."""
    found: list[Entry] = []

    def walk(cascade: Cascade, scope: tuple[ast.Condition, ...]) -> None:
        for step in cascade.steps:
            inside = (*scope, step.rule.condition)
            if step.inner is None:
                found.append(Entry(inside, None, step.index))
            else:
                walk(step.inner, inside)
                found.append(Entry(inside, None, step.inner.default))
            if on_unknown != "fallthrough":
                code = flat.unknown if flat.unknown >= 0 else -1 - step.index
                found.append(Entry(scope, step.rule.condition, code))

    walk(flat.cascade, ())
    return found


class VectorEmitter:
    """Emits ``route(col, n, now_us, tab)``: for one chunk, which entry of a segment is the first.

    The answer is a weight per row, uint8: the number of entries for the first one, down to 1 for
    the last, 0 where none holds. The largest weight wins, so a row needs no mask of being open.

    Attributes:
        slots: features read, by place in ``col``; shared by the segments of a table.
        lookups: tables wanted, by place in ``tab``; shared likewise.
        asks_nan: features of which NaN is told from other MISSING.
    """

    def __init__(
        self, features: FeatureMap, slots: dict[str, int], lookups: list[Lookup], asks_nan: set[str]
    ) -> None:
        self.features = features
        self.slots, self.lookups, self.asks_nan = slots, lookups, asks_nan
        self.constants: dict[str, Any] = dict(VECTOR)
        self.lines: list[str] = []
        self.known: dict[str, str] = {}
        self.read: dict[str, None] = {}
        self.groups: dict[ast.Condition, str] = {}

    def emit(self, segment: Sequence[Entry]) -> Source:
        """Source of one segment.

        Args:
            segment: at most 255 entries.
        """
        count = len(segment)
        for place, entry in enumerate(segment):
            mask = self.entry(entry)
            target = "best" if place == 0 else "held"
            self.lines.append(f"    multiply({mask}.view(uint8), {count - place}, out={target})")
            if place:
                self.lines.append("    maximum(best, held, out=best)")
        head = [
            "def route(col, n, now_us, tab):",
            *(f"    {name} = col[{name[1:]}]" for name in self.read),
            "    best = empty(n, uint8)",
            "    held = empty(n, uint8)",
        ]
        lines = [*head, *released(self.lines), "    return best"]
        return Source("\n".join(lines) + "\n", self.constants)

    def add(self, text: str) -> str:
        """Local that holds an expression, computed once."""
        local = self.known.get(text)
        if local is None:
            local = self.known[text] = f"m{len(self.known)}"
            self.lines.append(f"    {local} = {text}")
        return local

    def entry(self, entry: Entry) -> str:
        """Local of the mask of an entry."""
        masks = [self.true(push_negation(each)) for each in entry.scope]
        if entry.unknown is not None:
            true = self.true(push_negation(entry.unknown))
            false = self.true(push_negation(entry.unknown, negated=True))
            masks.append(self.add(f"~({true} | {false})"))
        return masks[0] if len(masks) == 1 else self.add(" & ".join(masks))

    # conditions -------------------------------------------------------------------------------

    def true(self, node: ast.Condition) -> str:
        """Local of the mask that is true where a negation-free condition is TRUE."""
        if not isinstance(node, ast.And | ast.Or | ast.Xor):
            return self.everywhere(node.value) if isinstance(node, ast.Truth) else self.leaf(node)
        if node not in self.groups:  # a XOR asks for each part twice: once each keeps it linear
            self.groups[node] = self.group(node)
        return self.groups[node]

    def group(self, node: ast.And | ast.Or | ast.Xor) -> str:
        match node:
            case ast.And(of=parts) | ast.Or(of=parts):
                sign = " & " if isinstance(node, ast.And) else " | "
                masks = [self.true(part) for part in parts]
                while len(masks) > WIDE:
                    masks = [
                        self.add(sign.join(masks[at : at + WIDE]))
                        for at in range(0, len(masks), WIDE)
                    ]
                return self.add(sign.join(masks)) if masks else self.everywhere(sign == " & ")
            case ast.Xor(of=parts, negated=negated):
                masks = [self.true(part) for part in parts]
                others = [self.true(push_negation(part, negated=True)) for part in parts]
                known = " & ".join(f"({a} | {b})" for a, b in zip(masks, others, strict=True))
                parity = " ^ ".join(masks)
                return self.add(f"{known} & {'~' if negated else ''}({parity})")

    def everywhere(self, value: bool) -> str:
        return self.add(f"full(n, {value})")

    def column(self, name: str) -> str:
        local = f"x{self.slots.setdefault(name, len(self.slots))}"
        self.read[local] = None
        return local

    def kind(self, operand: ast.Operand) -> str:
        """``float``, ``int``, ``coded`` or ``constant``."""
        match operand:
            case ast.Field(name=name):
                found = self.features[name].type
                return found if found == "int" else ("float" if found in _NUMBERS else "coded")
            case ast.Arith():
                return "float"
        return "constant"

    def leaf(self, node: Any) -> str:
        if isinstance(node, ast.Presence) and node.op == "isNaN":
            sign = "~" if node.negated else ""
            assert isinstance(node.operand, ast.Field)
            self.asks_nan.add(node.operand.name)
            return self.add(f"{sign}{self.column(node.operand.name)}.nan")
        operands = [node.left, node.right] if hasattr(node, "left") else [node.operand]
        kinds = {self.kind(operand) for operand in operands}
        timed = isinstance(node, ast.Within) or any(isinstance(o, ast.Now) for o in operands)
        if kinds <= {"float", "int", "constant"} and not timed and kinds != {"constant"}:
            return self.numeric(node)
        if len(field_names(node)) == 1 and isinstance(operands[0], ast.Field):
            return self.looked_up(node)
        return self.by_row(node)

    def looked_up(self, node: Any) -> str:
        """A test of one coded column: once per distinct value, then a gather."""
        name = field_names(node)[0]
        column = self.column(name)
        known = f"lookup {name} {node!r}"
        if known not in self.known:
            self.lookups.append(
                Lookup(self.slots[name], leaf_test(node, name, self.features[name]))
            )
            self.known[known] = f"tab[{len(self.lookups) - 1}]"
        return self.add(f"members({self.known[known]}, {column}.data)")

    def by_row(self, node: Any) -> str:
        """A test across coded columns, row by row through the reference."""
        names = field_names(node)
        columns = ", ".join(self.column(name) for name in names)
        test = self.constant(row_test(node, names, self.features))
        return self.add(f"by_row({test}, n, now_us, ({columns}{',' if columns else ''}))")

    def numeric(self, node: Any) -> str:
        match node:
            case ast.Compare(left=left, op=op, right=right):
                return self.compare(left, op, right)
            case ast.Distinct(left=left, right=right, negated=negated):
                unequal = self.compare(left, "!=", right)
                one, other = self.present(left), self.present(right)
                return self.add(f"{'~' if negated else ''}({unequal} | ({one} ^ {other}))")
            case ast.Known(operand=operand, value=known):
                return self.present(operand) if known else self.everywhere(value=False)
            case ast.Presence(operand=operand, op=op):
                mask = self.present(operand)
                return mask if op == "notNull" else self.add(f"~{mask}")
            case ast.In(operand=operand, values=values, negated=negated):
                members = self.constant(np.array(sorted(values), dtype=self.dtype(operand)))
                mask = self.add(f"isin({self.data(operand)}, {members})")
                if negated:
                    return self.add(f"~{mask} & {self.present(operand)}")
                return self.masked(mask, operand)
            case ast.Between(operand=operand, low=low, high=high, negated=negated):
                value = self.data(operand)
                if negated:
                    below = self.add(f"{value} < {self.literal(operand, low)}")
                    above = self.add(f"{value} > {self.literal(operand, high)}")
                    return self.masked(self.add(f"{below} | {above}"), operand)
                floor = self.add(f"{value} >= {self.literal(operand, low)}")
                roof = self.add(f"{value} <= {self.literal(operand, high)}")
                return self.masked(self.add(f"{floor} & {roof}"), operand)
        raise TypeError(node)

    def compare(self, left: ast.Operand, op: ast.CompareOp, right: ast.Operand) -> str:
        if isinstance(right, ast.Const):
            text = f"{self.data(left)} {_PYTHON[op]} {self.literal(left, right.value)}"
            mask = self.add(text)
            if op == "!=" and self.kind(left) == "float":
                return self.add(f"{mask} & {self.present(left)}")
            return self.masked(mask, left)
        if self.kind(left) != self.kind(right):
            test = f"exact_{self.kind(left)}_{self.kind(right)}({_UFUNC[op]}, "
        else:
            test = f"{_UFUNC[op]}("
        mask = self.add(f"{test}{self.data(left)}, {self.data(right)})")
        return self.add(f"{mask} & {self.present(left)} & {self.present(right)}")

    def masked(self, mask: str, operand: ast.Operand) -> str:
        if self.kind(operand) != "int":
            return mask
        return self.add(f"within({mask}, {self.value(operand)}.present)")

    def present(self, operand: ast.Operand) -> str:
        if isinstance(operand, ast.Const):
            return self.everywhere(value=True)
        if self.kind(operand) == "int":
            return self.add(f"presence({self.value(operand)})")
        data = self.data(operand)
        return self.add(f"{data} == {data}")

    def value(self, operand: ast.Operand) -> str:
        assert isinstance(operand, ast.Field)
        return self.column(operand.name)

    def data(self, operand: ast.Operand) -> str:
        if isinstance(operand, ast.Arith):
            return self.arith(operand)
        if isinstance(operand, ast.Const):
            return repr(float(operand.value))  # type: ignore[arg-type]
        return f"{self.value(operand)}.data" if isinstance(operand, ast.Field) else ""

    def arith(self, node: ast.Arith) -> str:
        args = []
        for arg in node.args:
            if isinstance(arg, ast.Field) and self.kind(arg) != "float":
                args.append(self.add(f"as_float({self.column(arg.name)})"))
            else:
                args.append(f"({self.data(arg)})")
        word = {
            "+": "plus",
            "-": "minus" if len(args) == 2 else "negative",
            "*": "times",
            "/": "quotient",
            "abs": "magnitude",
            "min": "least",
            "max": "greatest",
            "coalesce": "first",
        }[node.op]
        return self.add(f"{word}(n, {', '.join(args)})")

    def dtype(self, operand: ast.Operand) -> Any:
        return np.int64 if self.kind(operand) == "int" else np.float64

    def literal(self, operand: ast.Operand, value: Any) -> str:
        if self.kind(operand) == "int":
            return repr(int(value))
        return repr(float(value))

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name


def released(lines: Sequence[str]) -> list[str]:
    """The same lines, each mask given up after its last use.

    A mask is then written where another one has just been read, in cache; all of them together
    are several megabytes a chunk.
    """
    last = {name: number for number, line in enumerate(lines) for name in _MASK.findall(line)}
    dying: dict[int, list[str]] = {}
    for name, number in last.items():
        dying.setdefault(number, []).append(name)
    found = []
    for number, line in enumerate(lines):
        found.append(line)
        if number in dying:
            found.append(f"    del {', '.join(dying[number])}")
    return found


def leaf_test(node: Any, name: str, feature: Feature) -> Callable[[Any, int], bool]:
    """Truth of a leaf for one value of its only feature."""
    features = {name: feature}

    def test(value: Any, now_us: int) -> bool:
        return reference.truth(node, reference.Reader(features, {name: value}, now_us)) is True

    return test


def row_test(node: Any, names: tuple[str, ...], features: FeatureMap) -> Callable[..., bool]:
    """Truth of a leaf for one value per feature."""
    used = {name: features[name] for name in names}

    def test(values: tuple[Any, ...], now_us: int) -> bool:
        row = dict(zip(names, values, strict=True))
        return reference.truth(node, reference.Reader(used, row, now_us)) is True

    return test
