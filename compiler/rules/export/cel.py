"""A table whose conditions are CEL: the JSON form with ``{"cel": ...}`` as antecedents.

CEL has no cascade in which UNKNOWN falls through (an error in ``a ? 'x' : b ? 'y' : 'z'`` ends the
whole expression), so the rules stay rules and only their conditions change language. What was
written is read back by the CEL parser before it is given out.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.rules import ast
from compiler.rules.cel.condition import cel_condition
from compiler.rules.cel.lex import RESERVED
from compiler.rules.check import field_names
from compiler.rules.export.exported import Exported
from compiler.rules.importers.report import Report
from compiler.rules.print_json import table_json
from compiler.rules.print_text import print_condition

if TYPE_CHECKING:
    from compiler.errors import Problem
    from compiler.rules.compiled import CompiledRules
    from compiler.schema import FeatureMap

_BARE = re.compile(r"(?:context\.)?[A-Za-z_][A-Za-z0-9_]*\Z")
_TAKEN = RESERVED | {"now", "features", "context", "output", "true", "false", "null", "in"}
_CALLS = {"contains": "contains", "beginsWith": "startsWith", "endsWith": "endsWith"}


class NoCelError(Exception):
    """A construct that CEL has no words for; the text names it."""


def to_cel(rules: CompiledRules) -> Exported:
    """JSON text of the table with its conditions in CEL.

    Raises:
        ProblemsError: every condition that CEL cannot say exactly.
    """
    report = Report()
    document = table_json(rules.table, rules.features, rules.output)
    document["conditions"] = _rules(rules.table.rules, rules.scope, report)
    differences = report.close()
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    return Exported(text, differences)


def _rules(rules: tuple[ast.Rule, ...], scope: FeatureMap, report: Report) -> list[dict[str, Any]]:
    table = ast.Table(rules, ast.RejectConsequent())
    found: list[dict[str, Any]] = table_json(table)["conditions"]
    for rule, data in zip(rules, found, strict=True):
        text = _written(rule, scope, report)
        data["antecedent"] = {"cel": text}
        if isinstance(rule.consequent, ast.RulesConsequent):
            data["consequent"]["conditions"] = _rules(rule.consequent.rules, scope, report)
    return found


def _written(rule: ast.Rule, scope: FeatureMap, report: Report) -> str:
    try:
        text = cel_text(rule.condition, scope)
    except NoCelError as error:
        message = f"expected a condition that CEL can say, got {error} (rule {rule.id})"
        report.refused("cel.inexpressible", message, rule.at, "keep this rule in the JSON form")
        return "false"
    problems: list[Problem] = []
    cel_condition(text, scope, rule.at, problems.append)
    for problem in problems:
        message = f"{problem.message} in {text} (rule {rule.id})"
        report.refused(problem.code, message, rule.at, problem.hint)
    return text


def cel_text(node: ast.Condition, scope: FeatureMap) -> str:
    """A checked condition in CEL, in parentheses where it has parts.

    Raises:
        NoCelError: CEL has no words for a part of it.
    """
    match node:
        case ast.And(of=parts):
            return "(" + " && ".join(cel_text(part, scope) for part in parts) + ")"
        case ast.Or(of=parts):
            return "(" + " || ".join(cel_text(part, scope) for part in parts) + ")"
        case ast.Xor(of=parts, negated=negated):
            first, *rest = (cel_text(part, scope) for part in parts)
            for part in rest:
                first = f"(({first} && !{part}) || (!{first} && {part}))"
            return f"!{first}" if negated else first
        case ast.Not(of=part):
            return f"!({cel_text(part, scope)})"
        case ast.Truth(value=value):
            return "true" if value else "false"
        case ast.Compare(left=left, op=op, right=right):
            word = "==" if op == "=" else op
            return f"({_operand(left, scope)} {word} {_right(left, right, scope)})"
        case ast.Distinct():
            return _distinct(node, scope)
    found = _test(node, scope)
    return f"!({found})" if getattr(node, "negated", False) else found


def _distinct(node: ast.Distinct, scope: FeatureMap) -> str:
    left, right = _operand(node.left, scope), _right(node.left, node.right, scope)
    _named(node.left, "IS DISTINCT FROM over arithmetic")
    if isinstance(node.right, ast.Const | ast.Now):
        if node.negated:
            return f"({left} != null && {left} == {right})"
        return f"({left} == null || {left} != {right})"
    _named(node.right, "IS DISTINCT FROM over arithmetic")
    found = (
        f"(({left} == null && {right} != null) || ({left} != null && {right} == null) || "
        f"({left} != null && {right} != null && {left} != {right}))"
    )
    return f"!{found}" if node.negated else found


def _named(node: ast.Operand, what: str) -> None:
    if not isinstance(node, ast.Field):
        raise NoCelError(what)


def _test(node: Any, scope: FeatureMap) -> str:
    subject, kind = _operand(node.operand, scope), _kind(node.operand, scope)
    match node:
        case ast.Known(value=value):
            return f"{'!' if value else ''}({subject} in [])"
        case ast.In(values=values):
            return f"({subject} in [{', '.join(_literal(value, kind) for value in values)}])"
        case ast.Between(low=low, high=high):
            return f"({subject} >= {_literal(low, kind)} && {subject} <= {_literal(high, kind)})"
        case ast.Within(direction=direction, span_us=span_us):
            span = f"duration('{span_us // 1_000_000}s')"
            if direction == "last":
                return f"({subject} <= now && now - {subject} <= {span})"
            return f"({subject} >= now && {subject} - now <= {span})"
        case ast.Text():
            return _text(node, subject, scope)
        case ast.Presence(op=op):
            if op == "isNaN":
                raise NoCelError("IS NAN, since rules take NaN for missing")
            if op in ("null", "notNull"):
                _named(node.operand, "IS NULL over arithmetic")
            word = "==" if op in ("null", "isEmpty") else "!="
            return f"({subject} {word} {'null' if 'ull' in op else _quoted('')})"
    raise NoCelError(print_condition(node))


def _text(node: ast.Text, subject: str, scope: FeatureMap) -> str:
    if node.ignore_case:
        raise NoCelError("IGNORE CASE")
    if node.op != "matches":
        return f"{subject}.{_CALLS[node.op]}({_quoted(node.value)})"
    found = f"{subject}.matches({_quoted(node.value)})"
    back = cel_condition(found, scope, "", lambda _: None)
    if not isinstance(back, ast.Text) or back.value != node.value:
        raise NoCelError(f"MATCHES {node.value!r}, which RE2 reads otherwise")
    return found


def _right(left: ast.Operand, right: ast.Operand, scope: FeatureMap) -> str:
    if isinstance(right, ast.Const):
        return _literal(right.value, _kind(left, scope))
    return _operand(right, scope)


def _kind(node: ast.Operand, scope: FeatureMap) -> str:
    if isinstance(node, ast.Field):
        return scope[node.name].type
    if isinstance(node, ast.Arith) and _whole(node, scope):
        return "int"
    return "timestamp" if isinstance(node, ast.Now) else "float"


def _whole(node: ast.Operand, scope: FeatureMap) -> bool:
    """Whether CEL computes an operand in integers."""
    match node:
        case ast.Field(name=name):
            return scope[name].type == "int"
        case ast.Const(value=value):
            return float(value).is_integer()  # type: ignore[arg-type]
        case ast.Arith(op=op, args=args):
            fields = any(not isinstance(arg, ast.Const) for arg in args)
            return op in ("+", "-", "*") and fields and all(_whole(arg, scope) for arg in args)
    return False


def _operand(node: ast.Operand, scope: FeatureMap) -> str:
    match node:
        case ast.Field(name=name):
            if _BARE.match(name):
                return f"features.{name}" if name in _TAKEN else name
            if name.startswith("output.") and re.fullmatch(r"[A-Za-z0-9_.]+", name):
                return name
            raise NoCelError(f"the name {name!r}")
        case ast.Const(value=value):
            return _literal(value, "float")
        case ast.Now():
            return "now"
        case ast.Arith() if not field_names(node):
            raise NoCelError("arithmetic without a feature")
        case ast.Arith(op=op, args=args) if op in ("+", "-", "*", "/"):
            whole = _whole(node, scope)
            words = [
                _literal(int(arg.value) if whole else arg.value, "int" if whole else "float")  # type: ignore[arg-type]
                if isinstance(arg, ast.Const)
                else _operand(arg, scope)
                for arg in args
            ]
            return f"(-{words[0]})" if len(words) == 1 else f"({words[0]} {op} {words[1]})"
        case ast.Arith(op=op):
            raise NoCelError(op.upper())


def _literal(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dt.datetime):
        return f"timestamp('{value.isoformat().replace('+00:00', 'Z')}')"
    if isinstance(value, dt.date):
        raise NoCelError("a date, a type that CEL does not have")
    if isinstance(value, decimal.Decimal):
        whole = value == value.to_integral_value()
        return f"{value:f}" if whole and "." not in f"{value:f}" else repr(float(value))
    if kind == "int" and float(value).is_integer():
        return str(int(value))
    return repr(float(value))


def _quoted(text: str) -> str:
    """A CEL string; JSON escapes are all CEL escapes but for pairs of surrogates and ``/``."""
    return "".join(_escape(c) for c in json.dumps(text, ensure_ascii=False))


def _escape(character: str) -> str:
    return character if character.isprintable() else f"\\U{ord(character):08x}"
