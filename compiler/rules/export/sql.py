"""A table as one PostgreSQL query: the rule by ``CASE WHEN``, then its route.

UNKNOWN is SQL's NULL: AND, OR, NOT and the comparisons have the same truth tables, and a WHEN fires
only on TRUE. MISSING is NULL; NaN, which PostgreSQL takes for equal to itself and larger than every
number, is turned into NULL where it is read.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

from compiler.rules import ast
from compiler.rules.export.exported import Exported, comment, route_of
from compiler.rules.export.sql_patterns import PatternError, to_postgres
from compiler.rules.importers.report import Report
from compiler.rules.print_text import print_condition

if TYPE_CHECKING:
    from compiler.rules.compiled import CompiledRules
    from compiler.rules.flat import Cascade
    from compiler.schema import FeatureMap

COLUMN_TYPES = {
    "int": "bigint",
    "float": "double precision",
    "float32": "real",
    "decimal": "numeric",
    "bool": "boolean",
    "string": "text",
    "enum": "text",
    "date": "date",
    "timestamp": "timestamp with time zone",
}
ROWS = "requests"
_MAX_NAME_BYTES = 63
_EXACT = 2**53


def to_sql(rules: CompiledRules, *, rows: str = ROWS, now: str = "CURRENT_TIMESTAMP") -> Exported:
    """Query that adds the columns ``rule`` and ``route`` to every row.

    Args:
        rules: the table.
        rows: relation with one column per feature, named as in the rules and of the type that
            :data:`COLUMN_TYPES` gives.
        now: SQL expression of the time that rules see as ``NOW``.

    Raises:
        ProblemsError: every part that SQL cannot say.
    """
    writer = SqlWriter(rules.scope, now)
    flat = rules.flat
    for leaf, rule in zip(rules.consequents, rules.ids, strict=True):
        writer.consequent(leaf, rule)
    if rules.on_unknown == "error" and flat.cascade.steps:
        writer.report.differs(
            "sql.unknown_error",
            "an UNKNOWN rule stops the request with an error; here its row gets the route error "
            "and the rule's id behind !",
            "",
        )
    chosen = writer.cascade(flat.cascade, rules.ids, rules.on_unknown, "    ")
    names = {f"!{rule}": "error" for rule in rules.ids if rules.on_unknown == "error"}
    for rule, leaf in zip(rules.ids, rules.consequents, strict=True):
        names[rule] = route_of(leaf)
    routes = "\n".join(f"    WHEN {text(i)} THEN {text(r)}" for i, r in names.items())
    differences = writer.report.close()
    columns = "\n".join(
        f"  {name(feature)} {COLUMN_TYPES[rules.scope[feature].type]}" for feature in writer.read
    )
    head = comment(f"Columns that {rows} must have:\n{columns}", "--")
    head += comment("Where it differs from the rules:", "--") if differences else ""
    head += "".join(comment(f"  {found.message}", "--") for found in differences)
    query = (  # nothing of it is run here, and every name and text in it is quoted
        f"WITH decided AS (\n  SELECT *,\n    {chosen} AS rule\n  FROM {rows}\n)\n"  # noqa: S608
        f"SELECT *,\n  CASE rule\n{routes}\n  END AS route\nFROM decided;\n"
    )
    return Exported(head + query, differences)


def text(value: str) -> str:
    """A text literal, whatever ``standard_conforming_strings`` says."""
    quoted = "'" + value.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def name(feature: str) -> str:
    """A column name."""
    return '"' + feature.replace('"', '""') + '"'


class SqlWriter:
    """Writes conditions of one table; what differs or cannot be said goes to ``report``.

    Attributes:
        report: differences and refusals.
        read: features that were read, in order.
    """

    def __init__(self, features: FeatureMap, now: str) -> None:
        self.features, self.now = features, now
        self.report = Report()
        self.read: dict[str, None] = {}

    def consequent(self, leaf: ast.LeafConsequent, rule: str) -> None:
        """Note what the route of a leaf leaves out."""
        at = getattr(leaf, "at", "")
        if isinstance(leaf, ast.SplitConsequent):
            self.report.refused(
                "sql.split",
                f"expected a consequent that SQL can name, got the split of {rule}", at,
                "sticky shares need a hash that SQL does not have: export to Python",
            )  # fmt: skip
        if isinstance(leaf, ast.ShadowConsequent | ast.ChallengeConsequent):
            self.report.differs("sql.others", "only the model that answers is named", at)

    def cascade(self, found: Cascade, ids: tuple[str, ...], on_unknown: str, pad: str) -> str:
        """``CASE`` over the rules in order, giving the id of the leaf."""
        default = text(ids[found.default])
        if not found.steps:
            return default
        lines = ["CASE"]
        for step in found.steps:
            test = self.condition(step.rule.condition)
            inner = (
                text(ids[step.index])
                if step.inner is None
                else self.cascade(step.inner, ids, on_unknown, pad + "    ")
            )
            lines.append(f"{pad}  WHEN {test} THEN {inner}")
            if on_unknown != "fallthrough":
                stop = "unknown" if on_unknown == "consequent" else f"!{ids[step.index]}"
                lines.append(f"{pad}  WHEN {test} IS NULL THEN {text(stop)}")
        return "\n".join([*lines, f"{pad}  ELSE {default}", f"{pad}END"])

    def condition(self, node: ast.Condition) -> str:
        """A boolean expression, in parentheses: NULL where the condition is UNKNOWN."""
        match node:
            case ast.And(of=parts):
                return "(" + " AND ".join(map(self.condition, parts)) + ")"
            case ast.Or(of=parts):
                return "(" + " OR ".join(map(self.condition, parts)) + ")"
            case ast.Xor(of=parts, negated=negated):
                first, *rest = map(self.condition, parts)
                for part in rest:
                    first = f"({first} <> {part})"
                return f"(NOT {first})" if negated else first
            case ast.Not(of=part):
                return f"(NOT {self.condition(part)})"
            case ast.Truth(value=value):
                return "TRUE" if value else "FALSE"
            case ast.Compare(left=left, op=op, right=right):
                a, b = self.pair(left, right)
                return f"({a} {'<>' if op == '!=' else op} {b})"
            case ast.Distinct(left=left, right=right, negated=negated):
                a, b = self.pair(left, right)
                return f"({a} IS {'NOT ' if negated else ''}DISTINCT FROM {b})"
        return self.test(node)

    def test(self, node: Any) -> str:
        """A test of one operand."""
        subject, kind = self.operand(node.operand), self.kind(node.operand)
        not_ = "NOT " if getattr(node, "negated", False) else ""
        match node:
            case ast.Known(value=value):
                return f"(CASE WHEN {subject} IS NOT NULL THEN {'TRUE' if value else 'FALSE'} END)"
            case ast.In(values=values):
                return f"({subject} {not_}IN ({', '.join(self.literal(v, kind) for v in values)}))"
            case ast.Between(low=low, high=high):
                ends = f"{self.literal(low, kind)} AND {self.literal(high, kind)}"
                return f"({subject} {not_}BETWEEN {ends})"
            case ast.Within(direction=direction, span_us=span_us):
                now = self.operand(ast.Now(node.at))
                age = f"{now} - {subject}" if direction == "last" else f"{subject} - {now}"
                span = decimal.Decimal(span_us) / 1_000_000
                return f"(extract(epoch FROM {age}) {not_}BETWEEN 0 AND {span:f})"
            case ast.Text():
                return f"({not_}{self.text_test(node, subject)})"
            case ast.Presence(op=op):
                return f"({not_}{self.presence(node, op, subject)})"
        raise TypeError(node)

    def presence(self, node: ast.Presence, op: str, subject: str) -> str:
        """A test for presence or emptiness, negation aside."""
        if op in ("null", "notNull"):
            return f"({subject} IS {'NOT ' if op == 'notNull' else ''}NULL)"
        if op == "isNaN":
            assert isinstance(node.operand, ast.Field)
            return f"coalesce({name(node.operand.name)} = 'NaN', FALSE)"
        return f"({subject} {'=' if op == 'isEmpty' else '<>'} '')"

    def text_test(self, node: ast.Text, subject: str) -> str:
        """A test of a text, negation aside."""
        if node.op == "matches":
            try:
                pattern, classes = to_postgres(node.value)
            except PatternError as error:
                shown = print_condition(node)
                self.report.refused(
                    "sql.regex",
                    f"expected a pattern that PostgreSQL reads alike, got {error} in {shown}",
                    node.at,
                    "use contains, begins with or ends with, or a simpler pattern",
                )
                return "FALSE"
            if classes:
                self._ascii("digits, letters and spaces of \\d, \\w and \\s", node.at)
            if node.ignore_case:
                self._ascii("upper and lower case", node.at)
            return (
                f"({subject} {'~*' if node.ignore_case else '~'} {self.literal(pattern, 'string')})"
            )
        value = self.literal(node.value, "string")
        if node.ignore_case:
            self._ascii("upper and lower case", node.at)
            subject, value = f"lower({subject})", f"lower({value})"
        if node.op == "contains":
            return f"(strpos({subject}, {value}) > 0)"
        if node.op == "beginsWith":
            return f"(left({subject}, length({value})) = {value})"
        return f"(right({subject}, length({value})) = {value})"

    def _ascii(self, what: str, at: str) -> None:
        self.report.differs(
            "sql.ascii", f"{what} beyond ASCII are what the database's collation says", at
        )

    def pair(self, left: ast.Operand, right: ast.Operand) -> tuple[str, str]:
        """Both sides of a comparison, literals in the type of the other side."""
        a, b = self.kind(left), self.kind(right)
        if {a, b} in ({"int", "float"}, {"int", "float32"}) and not isinstance(right, ast.Const):
            whole = left if a == "int" else right
            assert isinstance(whole, ast.Field)
            bounds = self.features[whole.name]
            known = (bounds.min, bounds.max)
            if not all(isinstance(end, int | float) and abs(end) <= _EXACT for end in known):
                self.report.differs(
                    "sql.precision",
                    f"{whole.name} is compared with a float after rounding to float64: whole "
                    "numbers beyond 2**53 can compare otherwise",
                    whole.at,
                )
        first = self.operand(left)
        second = (
            self.literal(right.value, a) if isinstance(right, ast.Const) else self.operand(right)
        )
        return first, second

    def kind(self, node: ast.Operand) -> str:
        """Feature type of an operand."""
        if isinstance(node, ast.Field):
            return self.features[node.name].type
        return "timestamp" if isinstance(node, ast.Now) else "float"

    def operand(self, node: ast.Operand) -> str:
        """An expression that is NULL for MISSING."""
        match node:
            case ast.Field(name=feature):
                if len(feature.encode()) > _MAX_NAME_BYTES:
                    message = f"expected names of at most {_MAX_NAME_BYTES} bytes, got {feature!r}"
                    self.report.refused("sql.name", message, node.at, "rename the feature")
                self.read[feature] = None
                numeric = self.kind(node) in ("float", "float32", "decimal")
                return f"nullif({name(feature)}, 'NaN')" if numeric else name(feature)
            case ast.Const(value=value):
                return self.literal(value, "float")
            case ast.Now():
                if self.now == "CURRENT_TIMESTAMP":
                    message = "NOW is the time of the transaction, not of each request"
                    self.report.differs("sql.now", message, node.at)
                return self.now
            case ast.Arith(op=op, args=args):
                return self.arithmetic(op, [self.double(arg) for arg in args], node.at)

    def double(self, node: ast.Operand) -> str:
        """An operand as float64."""
        found = self.operand(node)
        return f"{found}::double precision" if self.kind(node) != "float" else found

    def arithmetic(self, op: str, args: list[str], at: str) -> str:
        """Float64 arithmetic; NULL for what is not finite."""
        if op == "coalesce":
            return f"coalesce({', '.join(args)})"
        if op in ("+", "*", "/") or (op == "-" and len(args) == 2):
            self.report.differs(
                "sql.range",
                f"a result of {op} beyond float64, or too small for it, stops the query with an "
                "error instead of being MISSING or 0",
                at,
            )
        if op == "/":
            args[1] = f"nullif({args[1]}, 0)"
        if op in ("min", "max"):
            known = " AND ".join(f"{arg} IS NOT NULL" for arg in args)
            best = "least" if op == "min" else "greatest"
            found = f"CASE WHEN {known} THEN {best}({', '.join(args)}) END"
        elif op == "abs":
            found = f"abs({args[0]})"
        else:
            found = f"-{args[0]}" if len(args) == 1 else f"{args[0]} {op} {args[1]}"
        return f"nullif(nullif(nullif(({found}), 'Infinity'), '-Infinity'), 'NaN')"

    def literal(self, value: Any, kind: str) -> str:
        """A literal of a feature type."""
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, str):
            if "\0" in value:
                message = "expected a text without the character NUL, got one"
                self.report.refused("sql.nul", message, "", "PostgreSQL texts hold none")
            return text(value)
        if isinstance(value, dt.date):
            shown = value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
            return f"CAST('{shown}' AS {COLUMN_TYPES[kind]})"
        shown = f"{value:f}" if isinstance(value, decimal.Decimal) else repr(value)
        return f"CAST('{shown}' AS {COLUMN_TYPES[kind]})"
