"""The tables of the rule benchmark, as trees that every engine's own language is written from."""

from __future__ import annotations

import random
from typing import Any, Literal

from msgspec import Struct

from compiler.schema import Feature, FeatureMap

Op = Literal["<", "<=", ">", ">=", "=", "!="]


class Test(Struct, frozen=True):
    """One comparison of a feature with a constant."""

    name: str
    op: Op
    value: float | int | str


class Every(Struct, frozen=True):
    """Every part holds."""

    of: tuple[Node, ...]


class Some(Struct, frozen=True):
    """Some part holds."""

    of: tuple[Node, ...]


Node = Test | Every | Some


class Case(Struct, frozen=True):
    """A table, the rows it is asked about, and what they are like.

    Attributes:
        name: for the output.
        features: schema.
        rules: conditions in order; the answer is the index, ``len(rules)`` for none.
        rows: as mappings.
    """

    name: str
    features: FeatureMap
    rules: tuple[Node, ...]
    rows: tuple[dict[str, Any], ...]


def lending(rows: int = 64, seed: int = 7) -> Case:
    """A small safe loan, a large or strained one, and the rest."""
    draw = random.Random(seed)
    features = {
        "loan_amount": Feature("float"),
        "credit_score": Feature("int"),
        "debt_to_income": Feature("float"),
    }
    rules: tuple[Node, ...] = (
        Every((Test("loan_amount", "<", 50_000), Test("credit_score", ">", 700))),
        Some((Test("loan_amount", ">", 250_000), Test("debt_to_income", ">", 0.45))),
    )
    found = tuple(
        {
            "loan_amount": round(draw.choice((60_000, 400_000)) * draw.random(), 2),
            "credit_score": draw.randrange(300, 850),
            "debt_to_income": round(draw.uniform(0, 0.7), 3),
        }
        for _ in range(rows)
    )
    return Case("the lending table", features, rules, found)


def none_match(count: int = 200, rows: int = 64, seed: int = 7) -> Case:
    """Distinct conditions of two tests each, over eight features, of which none holds."""
    draw = random.Random(seed)
    names = [f"x{number}" for number in range(8)]
    rules = tuple(
        Every(
            (
                Test(draw.choice(names), ">", 10_000 + number),
                Test(draw.choice(names), "<", 50_000 - number),
            )
        )
        for number in range(count)
    )
    return Case(
        f"{count} rules, none matching",
        {name: Feature("int") for name in names},
        rules,
        tuple({name: draw.randrange(0, 10_000) for name in names} for _ in range(rows)),
    )


def ranges(count: int, rows: int = 64, seed: int = 7) -> Case:
    """Rules that each want three of eight features within a range; few rows match any."""
    draw = random.Random(seed)
    names = [f"x{number}" for number in range(8)]
    rules: list[Node] = []
    for _ in range(count):
        tests: list[Node] = []
        for name in draw.sample(names, 3):
            low = draw.uniform(0, 950)
            tests += (Test(name, ">=", round(low, 3)), Test(name, "<", round(low + 50, 3)))
        rules.append(Every(tuple(tests)))
    return Case(
        f"{count:,} range rules, 8 features",
        {name: Feature("float") for name in names},
        tuple(rules),
        tuple({name: round(draw.uniform(0, 1000), 3) for name in names} for _ in range(rows)),
    )


def plain(condition: Node, *, both: str = "and", either: str = "or", equal: str = "==",
          name: str = "{}", quote: str = "'", test: str = "{}") -> str:  # fmt: skip
    """An infix expression of a condition.

    Args:
        condition: the tree.
        both: word between parts that all hold.
        either: word between parts of which one holds.
        equal: the comparison for equality.
        name: how a feature is written.
        quote: around texts.
        test: around a comparison.
    """
    if isinstance(condition, Test):
        value = condition.value
        shown = f"{quote}{value}{quote}" if isinstance(value, str) else repr(value)
        op = equal if condition.op == "=" else condition.op
        return test.format(f"{name.format(condition.name)} {op} {shown}")
    word = both if isinstance(condition, Every) else either
    parts = (
        plain(each, both=both, either=either, equal=equal, name=name, quote=quote, test=test)
        for each in condition.of
    )
    return "(" + f" {word} ".join(parts) + ")"


def rule_text(case: Case) -> dict[str, Any]:
    """The table in our own text form."""
    lines = [
        f"{'ELSE ' if place else ''}IF {plain(rule, both='AND', either='OR', equal='=')} "
        f"THEN r{place}"
        for place, rule in enumerate(case.rules)
    ]
    return {"text": "\n".join([*lines, f"ELSE r{len(case.rules)}"])}


def json_logic(condition: Node) -> Any:
    """A condition in JsonLogic."""
    if isinstance(condition, Test):
        op = "==" if condition.op == "=" else condition.op
        return {op: [{"var": condition.name}, condition.value]}
    word = "and" if isinstance(condition, Every) else "or"
    return {word: [json_logic(each) for each in condition.of]}


def python_source(case: Case) -> str:
    """What a person would write by hand: the ceiling."""
    lines = ["def route(row):"]
    for place, rule in enumerate(case.rules):
        shown = plain(rule, name="row['{}']", quote='"')
        lines += [f"    if {shown}:", f"        return {place}"]
    return "\n".join([*lines, f"    return {len(case.rules)}"])
