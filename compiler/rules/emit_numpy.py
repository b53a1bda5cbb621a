"""Python source of a table over numpy columns: unique tests once per chunk, first TRUE wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.rules import ast, reference
from compiler.rules.check import field_names
from compiler.rules.columns import Column
from compiler.rules.emit_scalar import Source
from compiler.rules.flat import Cascade, Flat
from compiler.rules.passes.negate import push_negation
from compiler.rules.vector import VECTOR
from compiler.schema import Feature, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable

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


class VectorEmitter:
    """Emits ``name(col, n, now_us, env)`` that returns int16 leaf indices for one chunk."""

    def __init__(self, flat: Flat, features: FeatureMap, *, on_unknown: str) -> None:
        self.flat, self.features, self.on_unknown = flat, features, on_unknown
        self.constants: dict[str, Any] = dict(VECTOR)
        self.lines: list[str] = []
        self.known: dict[str, str] = {}
        self.slots: dict[str, int] = {}

    def emit(self, name: str) -> Source:
        """Source of the function; ``slots`` then lists the features in column order."""
        cascade = self.flat.cascade
        self.cascade(cascade, None)
        reads = [f"    x{i} = col[{i}]" for i in self.slots.values()]
        head = [
            f"def {name}(col, n, now_us):",
            *reads,
            f"    out = full(n, {cascade.default}, int16)",
            "    free = ones(n, bool)",
        ]
        return Source("\n".join([*head, *self.lines, "    return out"]) + "\n", self.constants)

    def add(self, text: str) -> str:
        """Local that holds an expression, computed once."""
        local = self.known.get(text)
        if local is None:
            local = self.known[text] = f"m{len(self.known)}"
            self.lines.append(f"    {local} = {text}")
        return local

    def cascade(self, cascade: Cascade, inside: str | None) -> None:
        for step in cascade.steps:
            true = self.true(push_negation(step.rule.condition))
            mask = f"free & {true}" if inside is None else f"free & {inside} & {true}"
            self.lines.append(f"    hit = {mask}")
            if step.inner is None:
                self.settle(step.index)
            else:
                local = f"g{step.index}_{len(self.lines)}"
                self.lines.append(f"    {local} = hit")
                self.cascade(step.inner, local)
                self.lines.append(f"    hit = free & {local}")
                self.settle(step.inner.default)
            if self.on_unknown != "fallthrough":
                code = self.flat.unknown if self.flat.unknown >= 0 else -1 - step.index
                false = self.true(push_negation(step.rule.condition, negated=True))
                scope = "" if inside is None else f"{inside} & "
                self.lines.append(f"    hit = free & {scope}~{true} & ~{false}")
                self.settle(code)

    def settle(self, index: int) -> None:
        self.lines.append(f"    out[hit] = {index}")
        self.lines.append("    free &= ~hit")

    # conditions -------------------------------------------------------------------------------

    def true(self, node: ast.Condition) -> str:
        """Local of the mask that is true where a negation-free condition is TRUE."""
        match node:
            case ast.And(of=parts) | ast.Or(of=parts):
                sign = " & " if isinstance(node, ast.And) else " | "
                masks = [self.true(part) for part in parts]
                return self.add(sign.join(masks)) if masks else self.everywhere(sign == " & ")
            case ast.Xor(of=parts, negated=negated):
                masks = [self.true(part) for part in parts]
                others = [self.true(push_negation(part, negated=True)) for part in parts]
                known = " & ".join(f"({a} | {b})" for a, b in zip(masks, others, strict=True))
                parity = " ^ ".join(masks)
                return self.add(f"{known} & {'~' if negated else ''}({parity})")
            case ast.Truth(value=value):
                return self.everywhere(value)
        return self.leaf(node)

    def everywhere(self, value: bool) -> str:
        return self.add(f"full(n, {value})")

    def column(self, name: str) -> str:
        return f"x{self.slots.setdefault(name, len(self.slots))}"

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
        test = self.constant(leaf_test(node, name, self.features[name]))
        table = self.add(f"table({test}, {self.column(name)}, now_us)")
        return self.add(f"{table}[{self.column(name)}.data]")

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


__all__ = ["Column", "VectorEmitter"]
