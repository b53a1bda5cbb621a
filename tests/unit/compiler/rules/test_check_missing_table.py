"""The language reference's table of missing values is the reference interpreter's, and complete."""

from __future__ import annotations

from typing import get_args

from compiler.rules import ast
from tests.missing_table import conditions, render, written


def _parts(node):
    yield node
    for name in node.__struct_fields__:
        value = getattr(node, name)
        for part in value if isinstance(value, tuple) else (value,):
            if hasattr(part, "__struct_fields__"):
                yield from _parts(part)


def test_the_table_is_what_the_reference_answers():
    assert written() == render()


def test_the_table_shows_every_construct_and_every_operator():
    nodes = [part for condition in conditions() for part in _parts(condition)]
    shown = {type(node) for node in nodes}
    assert shown >= {*get_args(ast.Condition), *get_args(ast.Operand)} - {ast.Truth}
    ops = {getattr(node, "op", "") for node in nodes}
    for words in (ast.CompareOp, ast.TextOp, ast.PresenceOp, ast.ArithOp):
        assert set(get_args(words)) <= ops
