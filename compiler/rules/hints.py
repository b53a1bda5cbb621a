"""What to do about a problem whose message has no better advice of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from compiler.rules.names import RESERVED_IDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.errors import Problem

GRAMMAR = "compiler/LANGUAGE.md"
BY_CODE = {
    "cel.always_fails": "remove the test, or write one that can succeed",
    "cel.function": "the functions that CEL conditions may call are listed in compiler/FORMATS.md",
    "cel.inexpressible": "write the condition in the JSON or text form",
    "cel.not_a_condition": "compare the value with something",
    "cel.subset": "the subset of CEL is described in compiler/FORMATS.md",
    "cel.syntax": "the subset of CEL is described in compiler/FORMATS.md",
    "rule.arguments": "give it as many operands as it takes",
    "rule.bounds": "swap the bounds",
    "rule.case": "case can be ignored in tests of text only",
    "rule.combinator": 'write "combinator": "and", "or" or "xor"',
    "rule.consequent": f"the forms behind THEN are in {GRAMMAR}",
    "rule.duplicate_id": "give every rule of a cascade an id of its own",
    "rule.empty_group": "add a test, or remove the group",
    "rule.enum_value": "use one of the values that the feature declares",
    "rule.expression": 'write an operand such as {"field": name} or {"value": literal}',
    "rule.id": "use letters, digits and _ . : - only",
    "rule.kind": 'write "kind": "routing" or "decision"',
    "rule.literal": "write a finite number, a text, true or false",
    "rule.many_problems": "repair those that are listed and check again",
    "rule.no_default": "end the table with ELSE and what applies when no rule does",
    "rule.no_value": "give the operator the value it compares with",
    "rule.null_literal": "test presence with IS NULL and IS NOT NULL",
    "rule.on_unknown": 'write "fallthrough", "error" or a consequent',
    "rule.regex": "use no look-around, back reference or repeat within a repeat",
    "rule.reserved_id": f"use another id than {' and '.join(RESERVED_IDS)}",
    "rule.shape": f"the JSON form is described in {GRAMMAR} and compiler/README.md",
    "rule.syntax": f"the grammar is in {GRAMMAR}",
    "rule.too_deep": "split the condition into several rules",
    "rule.too_large": "split it, or move the values into a feature computed before",
    "rule.type_mismatch": "compare the feature with values of its declared type",
    "rule.unknown_feature": "declare the feature in the schema",
    "rule.unknown_key": "remove it, or spell it as the form does",
    "rule.unknown_operator": "use <, <=, =, !=, >=, >, between, in, contains, null or one of "
    f"{GRAMMAR}",
    "schema.invalid": 'a feature is {"type": "float"} with what its type allows',
    "schema.name": "use letters, digits and _",
}


def with_hints(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, each with something to do about it."""
    return [
        problem if problem.hint else replace(problem, hint=BY_CODE.get(problem.code, ""))
        for problem in problems
    ]
