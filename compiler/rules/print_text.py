"""Canonical text of operands and conditions; whole tables are in ``print_table.py``."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from typing import Any

from compiler.rules import ast
from compiler.rules.parse_words import KEYWORDS

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_FUNCTIONS = frozenset({"ABS", "MIN", "MAX", "COALESCE"})
_WORDS = {
    "contains": "CONTAINS",
    "beginsWith": "BEGINS WITH",
    "endsWith": "ENDS WITH",
    "matches": "MATCHES",
    "null": "IS NULL",
    "notNull": "IS NOT NULL",
    "isNaN": "IS NAN",
    "isEmpty": "IS EMPTY",
    "isNotEmpty": "IS NOT EMPTY",
}


def print_name(name: str) -> str:
    """A name, in double quotes when it could be read as something else."""
    words = _FUNCTIONS | KEYWORDS | {"REJECT", "SPLIT", "SHADOW", "CHALLENGE"}
    if _BARE.match(name) and name.upper() not in words:
        return name
    return '"' + name.replace('"', '""') + '"'


def print_value(value: Any) -> str:
    """A literal."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dt.datetime):
        return _quote(value.isoformat().replace("+00:00", "Z"))
    if isinstance(value, dt.date):
        return _quote(value.isoformat())
    if isinstance(value, decimal.Decimal):
        digits = format(value, "f")
        short = decimal.Decimal(repr(float(value))) == value
        return digits if short else _quote(digits)  # a bare number is read as float64
    return repr(value)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def print_span(span_us: int) -> str:
    """A span in its largest whole unit."""
    seconds = span_us // 1_000_000
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def print_operand(node: ast.Operand, *, tight: bool = False) -> str:
    """An operand; ``tight`` puts arithmetic in parentheses."""
    match node:
        case ast.Field(name=name):
            return print_name(name)
        case ast.Const(value=value):
            return print_value(value)
        case ast.Now():
            return "NOW"
        case ast.Arith(op=op, args=args):
            if op == "-" and len(args) == 1:
                inner = print_operand(args[0], tight=True)
                plain = not isinstance(args[0], ast.Const) and not inner.startswith("-")
                return f"-{inner}" if plain else f"-({inner})"  # -- starts a comment
            if op in ("+", "-", "*", "/"):
                text = f" {op} ".join(print_operand(arg, tight=True) for arg in args)
                return f"({text})" if tight else text
            return f"{op}({', '.join(print_operand(arg) for arg in args)})"


def print_condition(node: ast.Condition) -> str:
    """A condition as the text form reads it."""
    match node:
        case ast.And(of=parts):
            return " AND ".join(_inner(part) for part in parts)
        case ast.Or(of=parts):
            return " OR ".join(_inner(part) for part in parts)
        case ast.Xor(of=parts, negated=negated):
            text = " XOR ".join(_inner(part) for part in parts)
            return f"NOT ({text})" if negated else text
        case ast.Not(of=part):
            return f"NOT ({print_condition(part)})"
        case ast.Truth(value=value):
            return "TRUE" if value else "FALSE"
    return _leaf(node)


def _inner(node: ast.Condition) -> str:
    text = print_condition(node)
    grouped = isinstance(node, ast.And | ast.Or | ast.Xor)
    return f"({text})" if grouped else text


def _leaf(node: Any) -> str:
    not_ = "NOT " if getattr(node, "negated", False) else ""
    match node:
        case ast.Compare(left=left, op=op, right=right):
            return f"{print_operand(left)} {op} {print_operand(right)}"
        case ast.Distinct(left=left, right=right):
            return f"{print_operand(left)} IS {not_}DISTINCT FROM {print_operand(right)}"
    subject = print_operand(node.operand)
    match node:
        case ast.In(values=values):
            return f"{subject} {not_}IN ({', '.join(print_value(value) for value in values)})"
        case ast.Between(low=low, high=high):
            return f"{subject} {not_}BETWEEN {print_value(low)} AND {print_value(high)}"
        case ast.Text(op=test, value=value, ignore_case=ignore_case):
            tail = " IGNORE CASE" if ignore_case else ""
            return f"{subject} {not_}{_WORDS[test]} {_quote(value)}{tail}"
        case ast.Within(direction=direction, span_us=span_us):
            return f"{subject} {not_}IN {direction.upper()} '{print_span(span_us)}'"
        case ast.Presence(op=state):
            text = f"{subject} {_WORDS[state]}"
            return f"NOT ({text})" if not_ else text
        case ast.Known(value=value):
            return f"{subject} {'NOT ' if value else ''}IN ()"
    raise TypeError(node)
