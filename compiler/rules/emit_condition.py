"""Python expressions of conditions over locals.

``true`` is the two-valued reading of a negation-free condition, in which every UNKNOWN leaf counts
as FALSE; ``kleene`` is its value: True, False or None. Both grow linearly with the condition.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from compiler.rules import ast, domain
from compiler.rules.emit_reads import NUMBERS, ReadEmitter

if TYPE_CHECKING:
    from compiler.rules.passes.share import Shared


class ConditionEmitter(ReadEmitter):
    """Emits expressions; every feature that they name must have been read.

    Attributes:
        shared: tests and sums that are computed more than once; each is kept in a local.
        kept: local of each of them that was met.
    """

    shared: frozenset[Shared] = frozenset()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.kept: dict[Shared, str] = {}
        self.bound: dict[ast.Arith, str] = {}
        self.temps = 0

    def true(self, node: ast.Condition) -> str:
        """Expression that is true where a negation-free condition is TRUE."""
        match node:
            case ast.And(of=parts):
                return " and ".join(self._nested(part) for part in parts) or "True"
            case ast.Or(of=parts):
                return " or ".join(self._nested(part) for part in parts) or "False"
            case ast.Xor(of=parts, negated=negated):
                return f"parity({', '.join(map(self.kleene, parts))}) is {not negated}"
            case ast.Not():
                raise TypeError(node)
        if node in self.shared:
            return self._lazy(node, lambda: self._fresh_leaf(node))
        return self._fresh_leaf(node)

    def kleene(self, node: ast.Condition) -> str:
        """Expression of the value of a negation-free condition; every part is evaluated."""
        match node:
            case ast.And(of=parts):
                return f"least_of({', '.join(map(self.kleene, parts))})"
            case ast.Or(of=parts):
                return f"greatest_of({', '.join(map(self.kleene, parts))})"
            case ast.Xor(of=parts, negated=negated):
                return f"parity({', '.join((*map(self.kleene, parts), *['True'] * negated))})"
            case ast.Not():
                raise TypeError(node)
            case ast.Truth() | ast.Distinct() | ast.Presence(op="null" | "notNull" | "isNaN"):
                return f"({self._fresh_leaf(node)})"
            case ast.Compare(left=left, right=right):
                operands = [left, right]
            case _:
                operands = [node.operand]
        self.bound = {}
        present = self._all_present(*operands)  # evaluated first, so it binds what both read
        value = self._leaf(node)
        return f"({value})" if present == "True" else f"(({value}) if {present} else None)"

    def _nested(self, node: ast.Condition) -> str:
        text = self.true(node)
        return f"({text})" if isinstance(node, ast.And | ast.Or | ast.Xor) else text

    def _fresh_leaf(self, node: ast.Leaf) -> str:
        self.bound = {}
        return self._leaf(node)

    def _leaf(self, node: ast.Leaf) -> str:
        match node:
            case ast.Truth(value=value):
                return repr(value)
            case ast.Known(operand=operand, value=known):
                return self.present(operand) if known else "False"
            case ast.Presence():
                return self._presence(node)
            case ast.Distinct(left=left, right=right, negated=negated):
                call = f"distinct({self.value(left)}, {self.value(right)})"
                return f"not {call}" if negated else call
            case ast.Compare():
                return self._compare(node)
            case ast.In(operand=operand, values=values, negated=negated):
                members = self.constant(frozenset(values))
                if not negated:
                    return f"{self.value(operand)} in {members}"
                return f"({self.present(operand)} and {self.value(operand)} not in {members})"
            case ast.Between():
                return self._between(node)
            case ast.Within():
                return self._within(node)
            case ast.Text():
                return self._text(node)

    # operands ---------------------------------------------------------------------------------

    def number(self, operand: ast.Operand) -> bool:
        """Whether MISSING is NaN for this operand."""
        if isinstance(operand, ast.Field):
            return self.features[operand.name].type in NUMBERS
        return isinstance(operand, ast.Arith)

    def wide(self, operand: ast.Operand) -> bool:
        """Whether a read int may lie outside int64 (only from a mapping)."""
        if not isinstance(operand, ast.Field) or self.features[operand.name].type != "int":
            return False
        return self.binding != "struct" or operand.name.startswith("output.")

    def present(self, operand: ast.Operand) -> str:
        if isinstance(operand, ast.Now | ast.Const):
            return "True"
        value = self.value(operand)
        if self.wide(operand):
            return f"{domain.INT_MIN} <= {value} <= {domain.INT_MAX}"
        return (
            f"{value} == {self.value(operand)}" if self.number(operand) else f"{value} is not None"
        )

    def _all_present(self, *operands: ast.Operand) -> str:
        parts = [self.present(operand) for operand in operands]
        return " and ".join(part for part in parts if part != "True") or "True"

    def value(self, operand: ast.Operand) -> str:
        match operand:
            case ast.Field(name=name):
                return self.local[name]
            case ast.Const(value=value):
                return self.literal(value)
            case ast.Now():
                return "now"
            case ast.Arith():
                if operand in self.shared:
                    return self._lazy(operand, lambda: self._arith(operand))
                return self._once(operand)

    def _once(self, node: ast.Arith) -> str:
        """A sum that one leaf reads several times is computed by the first read."""
        if node in self.bound:
            return self.bound[node]
        text = self._arith(node)
        self.temps += 1
        self.bound[node] = f"t{self.temps}"
        return f"(t{self.temps} := {text})"

    def _lazy(self, node: Shared, emit: Any) -> str:
        """A shared part, computed where a row first needs it; its local starts as None."""
        local = self.kept.setdefault(node, f"s{len(self.kept)}")
        outer, self.bound = self.bound, {}  # what is bound in here is not when the local is set
        text = f"({local} if {local} is not None else ({local} := {emit()}))"
        self.bound = outer
        return text

    def literal(self, value: Any) -> str:
        if isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
            return repr(value)
        return self.constant(value)

    def _arith(self, node: ast.Arith) -> str:
        args = [self._float(arg) for arg in node.args]
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

    def _float(self, operand: ast.Operand) -> str:
        value = self.value(operand)
        if isinstance(operand, ast.Field):
            if self.wide(operand):
                return f"(plain({value}) if {self.present(operand)} else NAN)"
            if self.features[operand.name].type in ("int", "decimal"):
                return f"plain({value})"
        return f"({value})" if isinstance(operand, ast.Const) else value

    # leaves -----------------------------------------------------------------------------------

    def _compare(self, node: ast.Compare) -> str:
        left, right, op = node.left, node.right, node.op
        if op == "=" and isinstance(right, ast.Const):
            word = "is" if isinstance(right.value, bool) else "=="
            return f"{self.value(left)} {word} {self.value(right)}"
        if isinstance(right, ast.Const) and self.number(left) and op != "!=":
            a, b = self.value(left), self.value(right)
            if not self.wide(left):
                return f"{a} {op} {b}"
            low, high = domain.INT_MIN, domain.INT_MAX
            return f"{low} <= {a} {op} {b}" if op in ("<", "<=") else f"{high} >= {a} {op} {b}"
        present = self._all_present(left, right)
        sign = "==" if op == "=" else op
        return f"({present} and {self.value(left)} {sign} {self.value(right)})"

    def _between(self, node: ast.Between) -> str:
        low, high = self.literal(node.low), self.literal(node.high)
        if not node.negated and self.number(node.operand):
            return f"{low} <= {self.value(node.operand)} <= {high}"
        present, value = self.present(node.operand), self.value(node.operand)
        if not node.negated:
            return f"({present} and {low} <= {value} <= {high})"
        return f"({present} and ({value} < {low} or {value} > {high}))"

    def _within(self, node: ast.Within) -> str:
        present, value = self.present(node.operand), self.value(node.operand)
        span = self.constant(dt.timedelta(microseconds=node.span_us))
        age = f"now - {value}" if node.direction == "last" else f"{value} - now"
        test = f"timedelta(0) <= {age} <= {span}"
        return f"({present} and {f'not ({test})' if node.negated else test})"

    def _text(self, node: ast.Text) -> str:
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

    def _presence(self, node: ast.Presence) -> str:
        operand, op = node.operand, node.op
        if op == "isNaN":
            assert isinstance(operand, ast.Field)
            mapped = f"f.get({operand.name!r})"
            own = self.attribute(operand.name) if self.binding == "struct" else mapped
            raw = self.raw(operand.name) or own
            return f"{'not ' if node.negated else ''}is_nan({raw})"
        if op == "null":
            return f"not ({self.present(operand)})"
        if op == "notNull":
            return self.present(operand)
        value = self.value(operand)
        test = f"{value} == ''" if (op == "isEmpty") != node.negated else f"{value} != ''"
        return f"({value} is not None and {test})"


def uses_now(node: Any) -> bool:
    """Whether a condition or operand reads the time of the request."""
    match node:
        case ast.Now() | ast.Within():
            return True
        case ast.And(of=parts) | ast.Or(of=parts) | ast.Xor(of=parts):
            return any(uses_now(part) for part in parts)
        case ast.Not(of=part):
            return uses_now(part)
        case ast.Compare(left=left, right=right) | ast.Distinct(left=left, right=right):
            return isinstance(left, ast.Now) or isinstance(right, ast.Now)
    return isinstance(getattr(node, "operand", None), ast.Now)
