"""Comparisons of JsonLogic as conditions that are never UNKNOWN: null is written out.

JsonLogic compares null like 0 and unequal to most things. A test of a nullable feature therefore
becomes ``x IS NULL OR test`` where JsonLogic says true of null, else ``x IS NOT NULL AND test``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules import domain
from compiler.rules.importers import javascript
from compiler.rules.importers.conditions import (
    FALSE,
    Condition,
    both,
    constant,
    either,
    leaf,
)
from compiler.rules.importers.javascript import DialectError, is_number
from compiler.rules.importers.jsonlogic_terms import NUMBERS, Computed, Lit, Term, Var
from compiler.rules.importers.report import Report, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

MIRROR = {
    "==": "==",
    "!=": "!=",
    "===": "===",
    "!==": "!==",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
_OURS = {"==": "=", "===": "=", "!=": "!=", "!==": "!="}
_EXACT = 2**53


class TestBuilder:
    """Builds tests of terms."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def compare(self, op: str, left: Term, right: Term, at: str) -> Condition:
        """``left op right``."""
        if isinstance(left, Lit) and isinstance(right, Lit):
            first, second = left.value, right.value
            return constant(_settled(lambda: javascript.compare(op, first, second), at))
        if isinstance(left, Lit) or (isinstance(left, Var) and isinstance(right, Computed)):
            left, op, right = right, MIRROR[op], left
        if isinstance(left, Computed):
            return self.computed(op, left, right, at)
        assert isinstance(left, Var)
        if isinstance(right, Var):
            return self.variables(op, left, right, at)
        assert isinstance(right, Lit)
        present = self.present(op, left, right.value, at)
        return self.guarded(
            left, present, lambda null: javascript.compare(op, null, right.value), at
        )

    def guarded(
        self, var: Var, present: Condition, on_missing: Callable[[Any], bool], at: str
    ) -> Condition:
        """A test of a value that may be missing, with JsonLogic's answer for null."""
        if not var.feature.nullable:
            return present
        try:
            absent = on_missing(var.missing)
        except DialectError as error:
            refuse(
                "jsonlogic.dialect",
                f"expected a comparison on which engines agree where {var.name} is missing, "
                f"got {error}",
                at,
                "declare the feature as not nullable, or say what a missing value means",
            )
        if absent:
            return either(leaf(var.name, "null"), present)
        return both(leaf(var.name, "notNull"), present)

    def present(self, op: str, var: Var, value: Any, at: str) -> Condition:
        """The test where the feature has a value."""
        kind = var.feature.type
        strict = op in ("===", "!==")
        if isinstance(value, list | dict):
            refuse("jsonlogic.coercion", f"expected a plain value to compare {var.name} with", at)
        if value is None and _equality(op):
            return constant(op.startswith("!"))
        if kind == "bool":
            return self.boolean(op, var, value, at)
        if kind in NUMBERS:
            if strict and not is_number(value):
                return constant(op == "!==")
            number = _settled(lambda: javascript.to_number(value), at)
            if not is_number(value):
                self.report.differs(
                    "jsonlogic.coercion", f"{value!r} is compared as {number:g}", at
                )
            self.note_number(var, at)
            plain = value if is_number(value) else number
            return leaf(var.name, _OURS.get(op, op), plain)
        if strict and not isinstance(value, str):
            return constant(op == "!==")
        if kind == "timestamp" or not isinstance(value, str):
            refuse(
                "jsonlogic.coercion",
                f"expected a text to compare {var.name} ({kind}) with, got {value!r}",
                at,
                "JsonLogic converts the value at run time",
            )
        return self.text(op, var, value, at)

    def text(self, op: str, var: Var, value: str, at: str) -> Condition:
        """Texts and dates against a text."""
        if var.feature.type == "date":
            try:
                domain.parse_date(value)
            except domain.WrongTypeError:
                refuse("jsonlogic.coercion", f"expected a date YYYY-MM-DD, got {value[:20]!r}", at)
            self.report.differs(
                "jsonlogic.date", f"{var.name} is compared as a calendar day, not as text", at
            )
            return leaf(var.name, _OURS.get(op, op), value)
        if not _equality(op):
            refuse(
                "jsonlogic.text_order",
                f"expected == or != with the text {var.name}, got {op}",
                at,
                "the rule language gives texts no order",
            )
        if var.feature.type == "enum" and value not in var.feature.values:
            self.report.differs(
                "jsonlogic.enum", f"{value!r} is no value of {var.name}, so nothing equals it", at
            )
            return constant(op.startswith("!"))
        return leaf(var.name, _OURS[op], value)

    def boolean(self, op: str, var: Var, value: Any, at: str) -> Condition:
        """A boolean feature: both of its values are tried."""
        answers = {
            own: _settled(lambda own=own: javascript.compare(op, own, value), at)  # type: ignore[misc]
            for own in (True, False)
        }
        if answers[True] == answers[False]:
            return constant(answers[True])
        return leaf(var.name, "=", answers[True])

    def variables(self, op: str, left: Var, right: Var, at: str) -> Condition:
        """Feature against feature, of one kind."""
        for var in (left, right):
            if var.missing is not None:
                refuse("jsonlogic.default", "expected no default between two features, got one", at)
        families = {_family(left), _family(right)}
        if len(families) > 1 or families & {"decimal", "timestamp"}:
            refuse(
                "jsonlogic.coercion",
                f"expected two features of one kind, got {left.feature.type} "
                f"and {right.feature.type}",
                at,
            )
        for var in (left, right):
            self.note_number(var, at)
        source = {"valueSource": "field"}
        if _equality(op):
            word = "notDistinctFrom" if op in ("==", "===") else "distinctFrom"
            return leaf(left.name, word, right.name, **source)
        if families != {"number"}:
            refuse("jsonlogic.text_order", f"expected two numbers around {op}, got others", at)
        if left.feature.nullable or right.feature.nullable:
            refuse(
                "jsonlogic.null_arithmetic",
                f"expected features that are never missing around {op}, got a nullable one",
                at,
                "JsonLogic compares null as 0",
            )
        return leaf(left.name, op, right.name, **source)

    def computed(self, op: str, left: Computed, right: Term, at: str) -> Condition:
        """Arithmetic against a number."""
        found: Condition = {"lhs": left.expression, "operator": _OURS.get(op, op)}
        if isinstance(right, Lit):
            if not is_number(right.value):
                refuse(
                    "jsonlogic.coercion",
                    "expected a number beside arithmetic, got another value",
                    at,
                )
            return {**found, "value": right.value}
        if isinstance(right, Computed):
            return {**found, "value": right.expression, "valueSource": "expression"}
        if right.feature.nullable or right.feature.type not in NUMBERS:
            refuse(
                "jsonlogic.coercion",
                f"expected a number that is never missing beside arithmetic, got {right.name}",
                at,
            )
        return {**found, "value": {"field": right.name}, "valueSource": "expression"}

    def note_number(self, var: Var, at: str) -> None:
        """Where our number types are finer or coarser than JavaScript's doubles."""
        kind = var.feature.type
        if kind == "float32":
            self.report.differs(
                "jsonlogic.float32", f"{var.name} and its literals are rounded to float32", at
            )
        if kind == "decimal":
            self.report.differs(
                "jsonlogic.decimal", f"{var.name} is compared exactly, not as a double", at
            )
        bounds = (var.feature.min, var.feature.max)
        inside = all(isinstance(end, int | float) and abs(end) <= _EXACT for end in bounds)
        if kind == "int" and not inside:
            self.report.differs(
                "jsonlogic.int", f"{var.name} is exact beyond 2**53; JsonLogic rounds it", at
            )

    def truth(self, term: Term, at: str) -> Condition:
        """JsonLogic's truthiness of a value."""
        if isinstance(term, Lit):
            return constant(_settled(lambda: javascript.truthy(term.value), at))
        if isinstance(term, Computed):
            return {"lhs": term.expression, "operator": "!=", "value": 0}
        kind = term.feature.type
        if kind in NUMBERS:
            present = leaf(term.name, "!=", 0)
        elif kind == "bool":
            present = leaf(term.name, "=", True)
        elif kind in ("string", "enum"):
            present = leaf(term.name, "isNotEmpty")
        else:
            present = leaf(term.name, "notNull")
        return self.guarded(term, present, javascript.truthy, at)

    def contained(self, needle: Term, group: Any, at: str) -> Condition:
        """``in``: a value in a list (compared as ===), or a text in a text."""
        if isinstance(group, list):
            if isinstance(needle, Computed):
                refuse("jsonlogic.operator", "expected a variable in a list, got arithmetic", at)
            if any(isinstance(item, list | dict) for item in group):
                refuse(
                    "jsonlogic.operator", "expected plain values in the list of in, got others", at
                )
            parts = [self.compare("===", needle, Lit(item, at), at) for item in group]
            return either(*parts) if parts else FALSE
        if isinstance(group, Var) and group.feature.type in ("string", "enum"):
            if not isinstance(needle, Lit) or not isinstance(needle.value, str):
                refuse(
                    "jsonlogic.coercion", f"expected a literal text to look for in {group.name}", at
                )
            part = needle.value
            return self.guarded(
                group,
                leaf(group.name, "contains", part),
                lambda null: isinstance(null, str) and part in null,
                at,
            )
        whole = group.value if isinstance(group, Lit) else None
        within = needle.value if isinstance(needle, Lit) else None
        if isinstance(whole, str) and isinstance(within, str):
            return constant(within in whole)
        return refuse(
            "jsonlogic.operator", "expected a list of literals or a text feature behind in", at
        )

    def absent(self, var: Var) -> Condition:
        """What ``missing`` reports: null, or an empty text."""
        null = leaf(var.name, "null") if var.feature.nullable else FALSE
        if var.feature.type in ("string", "enum"):
            return either(null, leaf(var.name, "isEmpty"))
        return null


def _equality(op: str) -> bool:
    return op in _OURS


def _family(var: Var) -> str:
    kind = var.feature.type
    if kind in ("int", "float", "float32"):
        return "number"
    return "text" if kind in ("string", "enum") else kind


def _settled(answer: Callable[[], Any], at: str) -> Any:
    try:
        return answer()
    except DialectError as error:
        return refuse(
            "jsonlogic.dialect",
            f"expected a comparison on which engines of JsonLogic agree, got {error}",
            at,
            "write the comparison with values of one type",
        )
