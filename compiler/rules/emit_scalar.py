"""Python source of a table for one row: an if-chain over locals, first TRUE wins.

Numbers are read with MISSING as NaN, which compares false by itself; other types with None. From a
struct the values are already typed; from a mapping each read is guarded, because ``True < 5`` and
``"a" == 1`` do not raise. What the fast function cannot read (an absent key, None where nothing is
nullable) raises, and the careful twin answers. User text enters only through ``repr`` and
constants.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from compiler.rules import ast, domain, kernel
from compiler.rules.check import field_names
from compiler.rules.flat import Cascade, Flat, all_steps
from compiler.rules.passes.negate import push_negation
from compiler.schema import CONTEXT_PREFIX, Feature, FeatureMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Binding = Literal["struct", "dict"]
_NUMBERS = frozenset({"int", "float", "float32"})
_CLASSES = {"int": "int", "float": "float", "bool": "bool", "string": "str", "enum": "str"}


class Source(Struct, frozen=True):
    """Generated text and the constants that it refers to."""

    text: str
    constants: dict[str, Any]


class ScalarEmitter:
    """Emits one function; names of user text never become identifiers."""

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
    ) -> None:
        self.flat, self.features, self.binding, self.careful = flat, features, binding, careful
        self.classes, self.decides, self.on_unknown = tuple(classes), decides, on_unknown
        self.constants: dict[str, Any] = dict(kernel.NAMESPACE)
        self.local: dict[str, str] = {}
        self.lines: list[str] = []
        self.temps = 0

    def emit(self, name: str) -> Source:
        """The function ``name(f, c, now_us[, out])`` returning a leaf index."""
        out = ", out" if self.decides else ""
        self.lines = [f"def {name}(f, c, now_us{out}):"]
        self.cascade(self.flat.cascade, 1, frozenset())
        return Source("\n".join(self.lines) + "\n", self.constants)

    # statements -------------------------------------------------------------------------------

    def cascade(self, cascade: Cascade, indent: int, known: frozenset[str]) -> None:
        """If-chain of one cascade; ``known`` are the features already read on every path here."""
        pad = "    " * indent
        for step in cascade.steps:
            names = field_names(step.rule.condition)
            for feature_name in names:
                if feature_name not in known:
                    self.read(feature_name, pad)
            known = known.union(names)
            if "now" not in self.local and _uses_now(step.rule.condition):
                self.lines.insert(1, "    now = instant(now_us)")
                self.local["now"] = "now"
            condition = push_negation(step.rule.condition)
            self.lines.append(f"{pad}if {self.true(condition)}:")
            if step.inner is None:
                self.lines.append(f"{pad}    return {step.index}")
            else:
                self.cascade(step.inner, indent + 1, known)
            if self.on_unknown != "fallthrough":
                code = self.flat.unknown if self.flat.unknown >= 0 else -1 - step.index
                false = self.true(push_negation(step.rule.condition, negated=True))
                self.lines.append(f"{pad}if not ({false}):")
                self.lines.append(f"{pad}    return {code}")
        self.lines.append(f"{pad}return {cascade.default}")

    def read(self, name: str, pad: str) -> None:
        """Statements that put a feature into its local, in its domain."""
        feature = self.features[name]
        local = self.local.setdefault(name, f"v{len(self.local)}")
        if name.startswith("output."):
            self.read_output(name, feature, local, pad)
        elif self.binding == "struct":
            self.lines.append(f"{pad}{local} = {self.attribute(name)}")
            self.from_struct(name, feature, local, pad)
        else:
            optional = self.careful or feature.nullable
            access = f"f.get({name!r})" if optional else f"f[{name!r}]"
            self.lines.append(f"{pad}{local} = {access}")
            self.from_any(feature, local, pad)

    def read_output(self, name: str, feature: Feature, local: str, pad: str) -> None:
        """Statements that take a part of the model's answer."""
        word = name.removeprefix("output.")
        if word.startswith("probability."):
            access = f"out[1][{self.classes.index(word.removeprefix('probability.'))}]"
        else:
            access = "out[1]" if word == "distance" else "out[0]"
        self.lines.append(f"{pad}{local} = {access}")
        self.from_any(feature, local, pad)

    def attribute(self, name: str) -> str:
        """Attribute access; the name was matched against the identifier pattern."""
        of = "f"
        if name.startswith(CONTEXT_PREFIX):
            name, of = name.removeprefix(CONTEXT_PREFIX), "c"
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and not iskeyword(name):
            access = f"{of}.{name}"
        else:
            access = f"getattr({of}, {name!r})"
        return access if of == "f" else f"({access} if c is not None else None)"

    def from_struct(self, name: str, feature: Feature, local: str, pad: str) -> None:
        """Statements after a typed read."""
        maybe = self.careful or feature.nullable or name.startswith(CONTEXT_PREFIX)
        if feature.type in _NUMBERS and maybe:
            self.lines.append(f"{pad}if {local} is None: {local} = NAN")
        if feature.type == "float32":
            self.lines.append(f"{pad}{local} = {self.constant(domain.round32)}({local})")

    def from_any(self, feature: Feature, local: str, pad: str) -> None:
        """Statements after a read of a value of any type."""
        reader = kernel.number_reader if feature.type in _NUMBERS else kernel.value_reader
        call = f"{local} = {self.constant(reader(feature))}({local})"
        kind = _CLASSES.get(feature.type)
        guard = f"if {local}.__class__ is not {kind}: " if kind else ""
        self.lines.append(f"{pad}{guard}{call}")

    # conditions -------------------------------------------------------------------------------

    def true(self, node: ast.Condition) -> str:
        """Expression that is true where a negation-free condition is TRUE."""
        match node:
            case ast.And(of=parts):
                return " and ".join(self.nested(part) for part in parts) or "True"
            case ast.Or(of=parts):
                return " or ".join(self.nested(part) for part in parts) or "False"
            case ast.Xor(of=parts, negated=negated):
                return self.xor(parts, negated=negated)
            case ast.Truth(value=value):
                return repr(value)
            case ast.Known(operand=operand, value=known):
                return self.present(operand) if known else "False"
            case ast.Presence():
                return self.presence(node)
            case ast.Distinct(left=left, right=right, negated=negated):
                call = f"distinct({self.value(left)}, {self.value(right)})"
                return f"not {call}" if negated else call
            case ast.Compare():
                return self.compare(node)
            case ast.In(operand=operand, values=values, negated=negated):
                members = self.constant(frozenset(values))
                read = self.value(operand)
                if not negated:
                    return f"{read} in {members}"
                return f"({self.present(operand)} and {read} not in {members})"
            case ast.Between():
                return self.between(node)
            case ast.Within():
                return self.within(node)
            case ast.Text():
                return self.text(node)
        raise TypeError(node)

    def nested(self, node: ast.Condition) -> str:
        text = self.true(node)
        return f"({text})" if isinstance(node, ast.And | ast.Or) else text

    def xor(self, parts: tuple[ast.Condition, ...], *, negated: bool) -> str:
        names, known = [], []
        for part in parts:
            self.temps += 1
            name = f"t{self.temps}"
            true, false = self.true(part), self.true(push_negation(part, negated=True))
            names.append(name)
            known.append(f"(({name} := bool({true})) or ({false}))")
        parity = " ^ ".join(names)
        return f"({' and '.join(known)} and ({parity}) is {not negated})"

    def number(self, operand: ast.Operand) -> bool:
        """Whether MISSING is NaN for this operand."""
        if isinstance(operand, ast.Field):
            return self.features[operand.name].type in _NUMBERS
        return isinstance(operand, ast.Arith)

    def wide(self, operand: ast.Operand) -> bool:
        """Whether a read int may lie outside int64 (only from a mapping)."""
        if not isinstance(operand, ast.Field) or self.features[operand.name].type != "int":
            return False
        return self.binding == "dict" or operand.name.startswith("output.")

    def present(self, operand: ast.Operand) -> str:
        value = self.value(operand)
        if isinstance(operand, ast.Now | ast.Const):
            return "True"
        if self.wide(operand):
            return f"{domain.INT_MIN} <= {value} <= {domain.INT_MAX}"
        return f"{value} == {value}" if self.number(operand) else f"{value} is not None"

    def value(self, operand: ast.Operand) -> str:
        match operand:
            case ast.Field(name=name):
                return self.local[name]
            case ast.Const(value=value):
                return self.literal(value)
            case ast.Now():
                return "now"
            case ast.Arith():
                return self.arith(operand)

    def literal(self, value: Any) -> str:
        if isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
            return repr(value)
        return self.constant(value)

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def arith(self, node: ast.Arith) -> str:
        args = [self.float(arg) for arg in node.args]
        match node.op:
            case "-" if len(args) == 1:
                return f"finite(-{args[0]})"
            case "+" | "-" | "*":
                return f"finite({args[0]} {node.op} {args[1]})"
            case "/":
                return f"divide({args[0]}, {args[1]})"
            case "abs":
                return f"finite(abs({args[0]}))"
        word = {"min": "least", "max": "greatest"}.get(node.op, "coalesce")
        return f"{word}({', '.join(args)})"

    def float(self, operand: ast.Operand) -> str:
        value = self.value(operand)
        if isinstance(operand, ast.Field):
            if self.wide(operand):
                return f"(plain({value}) if {self.present(operand)} else NAN)"
            if self.features[operand.name].type in ("int", "decimal"):
                return f"plain({value})"
        return f"({value})" if isinstance(operand, ast.Const) else value

    def compare(self, node: ast.Compare) -> str:
        left, right, op = node.left, node.right, node.op
        a, b = self.value(left), self.value(right)
        if op == "=":
            if isinstance(right, ast.Const) and isinstance(right.value, bool):
                return f"{a} is {b}"
            if isinstance(right, ast.Const):
                return f"{a} == {b}"
            both = self.both(left, right)
            return f"({both} and {a} == {b})"
        if isinstance(right, ast.Const) and self.number(left) and op != "!=":
            if not self.wide(left):
                return f"{a} {op} {b}"
            low, high = domain.INT_MIN, domain.INT_MAX
            return f"{low} <= {a} {op} {b}" if op in ("<", "<=") else f"{high} >= {a} {op} {b}"
        return f"({self.both(left, right)} and {a} {op} {b})"

    def both(self, left: ast.Operand, right: ast.Operand) -> str:
        parts = [self.present(operand) for operand in (left, right)]
        return " and ".join(part for part in parts if part != "True") or "True"

    def between(self, node: ast.Between) -> str:
        value, low, high = self.value(node.operand), self.literal(node.low), self.literal(node.high)
        if not node.negated:
            test = f"{low} <= {value} <= {high}"
            return (
                test if self.number(node.operand) else f"({self.present(node.operand)} and {test})"
            )
        return f"({self.present(node.operand)} and ({value} < {low} or {value} > {high}))"

    def within(self, node: ast.Within) -> str:
        value = self.value(node.operand)
        span = self.constant(_span(node.span_us))
        age = f"now - {value}" if node.direction == "last" else f"{value} - now"
        test = f"timedelta(0) <= {age} <= {span}"
        test = f"not ({test})" if node.negated else test
        return f"({self.present(node.operand)} and {test})"

    def text(self, node: ast.Text) -> str:
        value, word = self.value(node.operand), node.value
        if node.op == "matches":
            flags = re.IGNORECASE if node.ignore_case else 0
            test = f"{self.constant(re.compile(word, flags).search)}({value}) is not None"
            return f"({value} is not None and {'not ' if node.negated else ''}({test}))"
        folded = f"{value}.casefold()" if node.ignore_case else value
        pattern = repr(word.casefold() if node.ignore_case else word)
        method = {"beginsWith": "startswith", "endsWith": "endswith"}.get(node.op)
        test = f"{folded}.{method}({pattern})" if method else f"{pattern} in {folded}"
        return f"({value} is not None and {'not ' if node.negated else ''}({test}))"

    def presence(self, node: ast.Presence) -> str:
        operand, op = node.operand, node.op
        if op == "isNaN":
            assert isinstance(operand, ast.Field)
            raw = (
                self.attribute(operand.name)
                if self.binding == "struct"
                else f"f.get({operand.name!r})"
            )
            return f"{'not ' if node.negated else ''}is_nan({raw})"
        if op == "null":
            return f"not ({self.present(operand)})"
        if op == "notNull":
            return self.present(operand)
        value = self.value(operand)
        test = f"{value} == ''" if (op == "isEmpty") != node.negated else f"{value} != ''"
        return f"({value} is not None and {test})"


def _span(span_us: int) -> Any:
    import datetime as dt

    return dt.timedelta(microseconds=span_us)


def _uses_now(node: Any) -> bool:
    match node:
        case ast.Now() | ast.Within():
            return True
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return any(_uses_now(part) for part in parts)
        case ast.Not(of=part):
            return _uses_now(part)
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return isinstance(left, ast.Now) or isinstance(right, ast.Now)
    return isinstance(getattr(node, "operand", None), ast.Now)


def build(source: Source, name: str) -> Callable[..., int]:
    """The function that a source defines."""
    space = dict(source.constants)
    exec(compile(source.text, f"<rules {name}>", "exec"), space)  # noqa: S102 - our own emitter's text
    found: Callable[..., int] = space[name]
    return found


def reads_missing(flat: Flat, features: FeatureMap) -> bool:
    """Whether a rule can be UNKNOWN for a request that the schema accepts."""
    for step in all_steps(flat.cascade):
        if _arith(step.rule.condition):
            return True
        for name in field_names(step.rule.condition):
            feature = features[name]
            if (feature.nullable and feature.default is None) or name.startswith(CONTEXT_PREFIX):
                return True
    return False


def _arith(node: Any) -> bool:
    match node:
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return any(_arith(part) for part in parts)
        case ast.Not(of=part):
            return _arith(part)
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return isinstance(left, ast.Arith) or isinstance(right, ast.Arith)
    return isinstance(getattr(node, "operand", None), ast.Arith)
