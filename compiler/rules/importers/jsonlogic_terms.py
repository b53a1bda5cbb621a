"""Operands of JsonLogic: literals, variables and arithmetic, typed by the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct, UnsetType

from compiler.rules.importers import javascript
from compiler.rules.importers.report import Report, refuse
from compiler.rules.names import suggestion
from compiler.schema import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBERS = frozenset({"int", "float", "float32", "decimal"})
ARITHMETIC = frozenset({"+", "-", "*", "/", "min", "max"})
_LISTS = frozenset({"and", "or", "if", "?:"})


class Lit(Struct, frozen=True):
    """A literal."""

    value: Any
    at: str


class Var(Struct, frozen=True):
    """A feature; ``default`` stands in for it where it is missing."""

    name: str
    feature: Feature
    at: str
    default: Any | UnsetType = UNSET

    @property
    def missing(self) -> Any:
        """What JsonLogic sees where the row has no value."""
        return None if self.default is UNSET else self.default


class Computed(Struct, frozen=True):
    """Arithmetic in the JSON form's own words."""

    expression: dict[str, Any]
    at: str


Term = Lit | Var | Computed


def operation(node: Any, at: str) -> tuple[str, list[Any]] | None:
    """Operator and arguments of a node, None for a literal.

    Raises:
        RefusedError: an object that is no operation.
    """
    if not isinstance(node, dict):
        return None
    if len(node) != 1:
        refuse("jsonlogic.shape", f"expected one operator in an object, got {len(node)} keys", at)
    ((name, args),) = node.items()
    if name in _LISTS and not isinstance(args, list):
        refuse(
            "jsonlogic.arguments",
            f"expected a list behind {name}, got another value",
            f"{at}.{name}",
            "dialects differ on it",
        )
    return name, args if isinstance(args, list) else [args]


class TermReader:
    """Reads operands; what it cannot read exactly is refused."""

    def __init__(self, features: Mapping[str, Feature], report: Report) -> None:
        self.features, self.report = features, report

    def term(self, node: Any, at: str) -> Term | None:
        """An operand, or None when the node is a condition (or unknown)."""
        found = operation(node, at)
        if found is None:
            return Lit(node, at)
        name, args = found
        if name in ("var", "val"):
            return self.variable(name, args, f"{at}.{name}")
        if name == "??":
            return self.coalesce(args, f"{at}.{name}")
        if name in ARITHMETIC:
            return self.arithmetic(name, args, f"{at}.{name}")
        return None

    def variable(self, name: str, args: list[Any], at: str) -> Var:
        """``{"var": "x"}``, with or without a default."""
        if not args or not isinstance(args[0], str) or (name == "val" and len(args) != 1):
            refuse(
                "jsonlogic.variable", "expected the name of one value, got a path or position", at
            )
        if len(args) > 2:
            refuse("jsonlogic.arguments", f"expected a name and a default, got {len(args)}", at)
        feature = self.feature(args[0], at)
        if len(args) == 1:
            return Var(args[0], feature, at)
        default = self._default(args[1], at)
        if feature.nullable:
            self.report.differs(
                "jsonlogic.default",
                f"an explicit null of {args[0]} takes the default {default!r} too; "
                "JsonLogic keeps the null",
                at,
            )
        return Var(args[0], feature, at, default)

    def feature(self, name: str, at: str) -> Feature:
        """Declaration of a name."""
        if name not in self.features:
            refuse(
                "rule.unknown_feature",
                f"expected a declared feature, got {name[:40]!r}",
                at,
                suggestion(name, self.features) or "give its type with a schema",
            )
        return self.features[name]

    def _default(self, value: Any, at: str) -> Any:
        if isinstance(value, list | dict):
            refuse("jsonlogic.default", "expected a plain default, got a list or an operation", at)
        return value

    def coalesce(self, args: list[Any], at: str) -> Var:
        """``{"??": [var, default]}``: null and absent alike, as the language has it."""
        first = self.term(args[0], at) if len(args) == 2 else None
        if not isinstance(first, Var) or first.default is not UNSET:
            refuse("jsonlogic.operator", "expected ?? of one variable and a literal, got more", at)
        return Var(first.name, first.feature, at, self._default(args[1], at))

    def arithmetic(self, op: str, args: list[Any], at: str) -> Computed:
        """``+ - * / min max`` of numbers that are never missing."""
        low = 1 if op == "-" else 2
        if not low <= len(args) <= (2 if op in ("-", "/") else 20):
            refuse(
                "jsonlogic.arguments",
                f"expected two numbers of {op}, got {len(args)}",
                at,
                "with one argument it converts, and dialects differ",
            )
        parts = [self.number(arg, f"{at}[{i}]") for i, arg in enumerate(args)]
        if op == "/" and parts[1].get("value", 0) == 0:
            refuse(
                "jsonlogic.division",
                "expected a constant other than 0 below /, got another value",
                at,
                "JsonLogic answers Infinity where this language answers UNKNOWN",
            )
        self.report.differs(
            "jsonlogic.overflow",
            "results beyond float64 are UNKNOWN here, Infinity in JsonLogic",
            at,
        )
        if op in ("min", "max") or len(parts) <= 2:
            return Computed({"op": op, "args": parts}, at)
        whole = parts[0]
        for part in parts[1:]:
            whole = {"op": op, "args": [whole, part]}
        return Computed(whole, at)

    def number(self, node: Any, at: str) -> dict[str, Any]:
        """A number as an expression of the JSON form."""
        term = self.term(node, at)
        if isinstance(term, Computed):
            return term.expression
        if isinstance(term, Lit) and javascript.is_number(term.value):
            return {"value": term.value}
        if isinstance(term, Var) and term.feature.type in NUMBERS:
            if term.feature.nullable:
                refuse(
                    "jsonlogic.null_arithmetic",
                    f"expected a number that is never missing, got {term.name}, which is nullable",
                    at,
                    "dialects of JsonLogic compute with null in different ways",
                )
            return {"field": term.name}
        return refuse(
            "jsonlogic.coercion",
            "expected a number in arithmetic, got another value",
            at,
            "JsonLogic would convert it at run time",
        )
