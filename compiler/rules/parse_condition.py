"""Groups and leaves of the JSON form to conditions."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from compiler.errors import Problem
from compiler.rules import ast, limits
from compiler.rules.cel.budget import Budget
from compiler.rules.cel.condition import cel_condition
from compiler.rules.lex import MAX_PROBLEMS
from compiler.rules.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from compiler.schema import FeatureMap

COMPARE = {"=", "!=", "<", "<=", ">", ">="}
TEXT: dict[str, tuple[ast.TextOp, bool]] = {
    "contains": ("contains", False),
    "doesNotContain": ("contains", True),
    "beginsWith": ("beginsWith", False),
    "doesNotBeginWith": ("beginsWith", True),
    "endsWith": ("endsWith", False),
    "doesNotEndWith": ("endsWith", True),
    "matches": ("matches", False),
    "doesNotMatch": ("matches", True),
}
PRESENCE: set[ast.PresenceOp] = {"null", "notNull", "isNaN", "isEmpty", "isNotEmpty"}
TIME: dict[str, ast.CompareOp] = {"before": "<", "after": ">", "on": "="}
OPERATORS = (
    COMPARE
    | set(TEXT)
    | PRESENCE
    | set(TIME)
    | {"in", "notIn", "between", "notBetween", "distinctFrom", "notDistinctFrom"}
    | {"inLast", "inNext", "notInLast", "notInNext"}
)
ARITH_ARGS = {
    "+": (2, 2),
    "-": (1, 2),
    "*": (2, 2),
    "/": (2, 2),
    "abs": (1, 1),
    "min": (2, 20),
    "max": (2, 20),
    "coalesce": (2, 20),
}
_LEAF_KEYS = {"field", "lhs", "operator", "value", "valueSource", "caseInsensitive", "id"}
_GROUP_KEYS = {"combinator", "rules", "not", "allowEmpty", "id"}
MAX_SPAN_S = 10_000 * 366 * 86_400
"""Longest span that reaches from one end of the calendar to the other."""
_SPAN = re.compile(r"([0-9]{1,12})\s*(w|d|h|m|s)\Z")
_SPAN_US = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_span(text: Any) -> int | None:
    """Microseconds of ``90d``, ``12h``, ``30m``, ``45s`` or ``2w``; None when it is not one.

    Spans beyond the years 1 to 9999 of the calendar are none either.
    """
    found = _SPAN.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    seconds = int(found[1]) * _SPAN_US[found[2]]
    return seconds * 1_000_000 if seconds <= MAX_SPAN_S else None


class ConditionParser:
    """Parses conditions, reporting every problem; a faulty part is None."""

    def __init__(
        self, report: Callable[[Problem], None], features: FeatureMap | None = None
    ) -> None:
        self.report = report
        self.features = features or {}
        self.cel = Budget()
        self.nodes = 0
        self.told = 0

    def _meant(self, word: str, known: Collection[str]) -> str:
        """A suggestion, while problems are still listed: each costs a comparison with all names."""
        return suggestion(word, known) if self.told < MAX_PROBLEMS else ""

    def _problem(self, code: str, message: str, at: str, hint: str = "") -> None:
        self.told += 1
        self.report(Problem(code, message, at, hint))

    def condition(self, data: Any, at: str, depth: int = 1) -> ast.Condition | None:
        """A group or a leaf."""
        if not isinstance(data, dict):
            self._problem("rule.shape", f"expected a group or a condition, got {_short(data)}", at)
            return None
        if depth > limits.MAX_DEPTH:
            self._problem(
                "rule.too_deep",
                f"expected at most {limits.MAX_DEPTH} nested levels, got more",
                at,
                "split the condition into several rules",
            )
            return None
        self.nodes += 1
        if self.nodes > limits.MAX_NODES:
            if self.nodes == limits.MAX_NODES + 1:
                self._problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_NODES} conditions, got more",
                    at,
                )
            return None
        if "rules" in data or "combinator" in data:
            return self._group(data, at, depth)
        if "cel" in data:
            return self._cel(data, at, depth)
        return self._leaf(data, at, depth)

    def _cel(self, data: dict[str, Any], at: str, depth: int) -> ast.Condition | None:
        self._unknown_keys(data, {"cel", "id"}, at)
        text = data["cel"]
        if not isinstance(text, str):
            self._problem("rule.shape", f"expected a text of CEL, got {_short(text)}", f"{at}.cel")
            return None
        return cel_condition(
            text, self.features, f"{at}.cel", self.report, depth=depth, budget=self.cel
        )

    def _unknown_keys(self, data: dict[str, Any], known: set[str], at: str) -> None:
        for key in data:
            if key not in known:
                self._problem(
                    "rule.unknown_key",
                    f"expected one of {', '.join(sorted(known))}, got {key!r}",
                    f"{at}.{key}",
                    self._meant(key, known),
                )

    def _group(self, data: dict[str, Any], at: str, depth: int) -> ast.Condition | None:
        self._unknown_keys(data, _GROUP_KEYS, at)
        word, parts = data.get("combinator"), data.get("rules")
        if word not in ("and", "or", "xor"):
            self._problem(
                "rule.combinator",
                f"expected and, or or xor, got {_short(word)}",
                f"{at}.combinator",
            )
        if not isinstance(data.get("not", False), bool):
            self._problem(
                "rule.shape", f"expected true or false, got {_short(data['not'])}", f"{at}.not"
            )
        if not isinstance(parts, list):
            self._problem("rule.shape", f"expected a list, got {_short(parts)}", f"{at}.rules")
            return None
        if not parts:
            return self._empty(data, at)
        found = [
            self.condition(part, f"{at}.rules[{i}]", depth + 1) for i, part in enumerate(parts)
        ]
        whole = tuple(part for part in found if part is not None)
        if word not in ("and", "or", "xor") or len(whole) < len(parts):
            return None
        node: ast.Condition
        if len(whole) == 1:
            node = whole[0]
        elif word == "xor":
            if len(whole) > limits.MAX_XOR:
                self._problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_XOR} parts of an xor, got {len(whole)}",
                    at,
                )
            node = ast.Xor(whole, at=at)
        else:
            node = ast.And(whole, at) if word == "and" else ast.Or(whole, at)
        return ast.Not(node, at) if data.get("not") is True else node

    def _empty(self, data: dict[str, Any], at: str) -> ast.Condition | None:
        allowed = data.get("allowEmpty")
        if not isinstance(allowed, bool):
            self._problem(
                "rule.empty_group",
                "expected at least one condition, got an empty group",
                f"{at}.rules",
                'add one, or "allowEmpty": true or false to say its value',
            )
            return None
        return ast.Truth(allowed != (data.get("not") is True), at)

    def _leaf(self, data: dict[str, Any], at: str, depth: int) -> ast.Condition | None:
        self._unknown_keys(data, _LEAF_KEYS, at)
        left = self._left(data, at, depth)
        op = data.get("operator")
        if not isinstance(op, str) or op not in OPERATORS:
            self._problem(
                "rule.unknown_operator",
                f"expected an operator, got {_short(op)}",
                f"{at}.operator",
                self._meant(str(op), OPERATORS),
            )
            return None
        if not isinstance(data.get("caseInsensitive", False), bool):
            self._problem(
                "rule.shape",
                f"expected true or false, got {_short(data['caseInsensitive'])}",
                f"{at}.caseInsensitive",
            )
        if data.get("caseInsensitive") is True and op not in TEXT:
            self._problem(
                "rule.case", f"expected a string operator with caseInsensitive, got {op}", at
            )
        if op in PRESENCE:
            if data.get("value") not in (None, "", True):
                self._problem("rule.shape", f"expected no value with {op}, got one", f"{at}.value")
            return None if left is None else ast.Presence(left, op, at=at)
        if "value" not in data:
            self._problem("rule.no_value", f"expected a value for {op}, got none", at)
            return None
        return self._with_value(left, op, data, at, depth)

    def _with_value(
        self, left: ast.Operand | None, op: str, data: dict[str, Any], at: str, depth: int
    ) -> ast.Condition | None:
        value, place = data["value"], f"{at}.value"
        if op in ("in", "notIn"):
            values = self._values(value, place)
            if left is None or values is None:
                return None
            return ast.In(left, values, op == "notIn", at)
        if op in ("between", "notBetween"):
            ends = self._values(value, place)
            if ends is not None and len(ends) != 2:
                self._problem("rule.shape", f"expected [low, high], got {len(ends)} values", place)
                ends = None
            if left is None or ends is None:
                return None
            return ast.Between(left, ends[0], ends[1], op == "notBetween", at)
        if op in TEXT:
            if not isinstance(value, str) or len(value) > limits.MAX_STRING:
                self._problem("rule.type_mismatch", f"expected a text, got {_short(value)}", place)
                return None
            word, negated = TEXT[op]
            ignore = data.get("caseInsensitive") is True
            return None if left is None else ast.Text(left, word, value, negated, ignore, at)
        if op.endswith(("inLast", "inNext", "InLast", "InNext")):
            span = parse_span(value)
            if span is None:
                self._problem(
                    "rule.literal",
                    f"expected a span such as 90d or 12h, got {_short(value)}",
                    place,
                    "units: w d h m s",
                )
            if left is None or span is None:
                return None
            return ast.Within(
                left, "last" if op.endswith("Last") else "next", span, op.startswith("not"), at
            )
        right = self._right(value, data.get("valueSource", "value"), place, depth)
        if left is None or right is None:
            return None
        if op in ("distinctFrom", "notDistinctFrom"):
            return ast.Distinct(left, right, op == "notDistinctFrom", at)
        return ast.Compare(left, TIME.get(op, op), right, at)  # type: ignore[arg-type]

    def _left(self, data: dict[str, Any], at: str, depth: int) -> ast.Operand | None:
        if "lhs" in data:
            if "field" in data:
                self._problem("rule.shape", "expected field or lhs, got both", at)
            return self.expression(data["lhs"], f"{at}.lhs", depth)
        name = data.get("field")
        if not isinstance(name, str):
            self._problem(
                "rule.shape", f"expected a feature name, got {_short(name)}", f"{at}.field"
            )
            return None
        return ast.Field(name, f"{at}.field")

    def _right(self, value: Any, source: Any, at: str, depth: int) -> ast.Operand | None:
        if source == "value":
            found = self._values([value], at, single=True)
            return None if found is None else ast.Const(found[0], at)
        if source == "field":
            if isinstance(value, str):
                return ast.Field(value, at)
            self._problem("rule.shape", f"expected a feature name, got {_short(value)}", at)
            return None
        if source == "expression":
            return self.expression(value, at, depth)
        self._problem(
            "rule.shape",
            f"expected value, field or expression, got {_short(source)}",
            at.removesuffix("value") + "valueSource",
        )
        return None

    def expression(self, data: Any, at: str, depth: int) -> ast.Operand | None:
        """``{"field"}``, ``{"value"}``, ``{"now": true}`` or ``{"op", "args"}``."""
        if depth > limits.MAX_DEPTH:
            self._problem(
                "rule.too_deep", f"expected at most {limits.MAX_DEPTH} levels, got more", at
            )
            return None
        keys = set(data) if isinstance(data, dict) else set()
        if keys == {"field"} and isinstance(data["field"], str):
            return ast.Field(data["field"], f"{at}.field")
        if keys == {"value"}:
            found = self._values([data["value"]], f"{at}.value", single=True)
            return None if found is None else ast.Const(found[0], f"{at}.value")
        if keys == {"now"} and data["now"] is True:
            return ast.Now(at)
        arithmetic = keys == {"op", "args"} and isinstance(data["args"], list)
        if arithmetic and isinstance(data["op"], str) and data["op"] in ARITH_ARGS:
            low, high = ARITH_ARGS[data["op"]]
            if not low <= len(data["args"]) <= high:
                self._problem(
                    "rule.arguments",
                    f"expected {low} to {high} arguments of {data['op']}, got {len(data['args'])}",
                    f"{at}.args",
                )
                return None
            args = [
                self.expression(arg, f"{at}.args[{i}]", depth + 1)
                for i, arg in enumerate(data["args"])
            ]
            whole = tuple(arg for arg in args if arg is not None)
            op: Any = data["op"]
            return ast.Arith(op, whole, at) if len(whole) == len(args) else None
        self._problem(
            "rule.expression",
            'expected {"field"}, {"value"}, {"now": true} or '
            f'{{"op", "args"}}, got {_short(data)}',
            at,
        )
        return None

    def _values(self, data: Any, at: str, *, single: bool = False) -> tuple[ast.Value, ...] | None:
        if not isinstance(data, list):
            self._problem("rule.shape", f"expected a list of values, got {_short(data)}", at)
            return None
        if len(data) > limits.MAX_LIST:
            self._problem(
                "rule.too_large", f"expected at most {limits.MAX_LIST} values, got {len(data)}", at
            )
            return None
        sound = True
        for i, item in enumerate(data):
            place = at if single else f"{at}[{i}]"
            if item is None:
                self._problem(
                    "rule.null_literal",
                    "expected a value, got null",
                    place,
                    "test presence with the operators null and notNull",
                )
                sound = False
            elif not isinstance(item, bool | int | float | str):
                self._problem("rule.literal", f"expected a plain value, got {_short(item)}", place)
                sound = False
            elif isinstance(item, float) and not math.isfinite(item):
                self._problem("rule.literal", f"expected a finite number, got {item}", place)
                sound = False
            elif isinstance(item, str) and len(item) > limits.MAX_STRING:
                self._problem(
                    "rule.too_large",
                    f"expected at most {limits.MAX_STRING} characters, got {len(item)}",
                    place,
                )
                sound = False
        return tuple(data) if sound else None


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
