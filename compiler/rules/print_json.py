"""Canonical JSON form of tables, conditions and operands, as plain data."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.rules import ast
from compiler.rules.print_text import print_span

if TYPE_CHECKING:
    from compiler.schema import FeatureMap, OutputSchema

_NEGATED = {
    "contains": "doesNotContain",
    "beginsWith": "doesNotBeginWith",
    "endsWith": "doesNotEndWith",
    "matches": "doesNotMatch",
}


def table_json(
    table: ast.Table, features: FeatureMap | None = None, output: OutputSchema | None = None
) -> dict[str, Any]:
    """The envelope of a table; ``parse_document`` reads it back to an equal one."""
    data: dict[str, Any] = {"$schema": "interlock/rules/v1"}
    if table.id:
        data["id"] = table.id
    if table.revision is not None:
        data["revision"] = table.revision
    if table.description:
        data["description"] = table.description
    data["kind"] = table.kind
    if features:
        data["features"] = msgspec.to_builtins(features)
    if output is not None:
        data["output"] = msgspec.to_builtins(output)
    data["evaluationMode"] = "cascade"
    data["onUnknown"] = (
        table.on_unknown
        if isinstance(table.on_unknown, str)
        else {"consequent": consequent_json(table.on_unknown)}
    )
    return {**data, **_cascade(table.rules, table.default)}


def condition_json(node: ast.Condition) -> dict[str, Any]:
    """A condition."""
    match node:
        case ast.And(of=parts):
            return _group("and", parts)
        case ast.Or(of=parts):
            return _group("or", parts)
        case ast.Xor(of=parts, negated=negated):
            return {**_group("xor", parts), **({"not": True} if negated else {})}
        case (
            ast.Not(of=ast.And() | ast.Or() as inner) | ast.Not(of=ast.Xor(negated=False) as inner)
        ):
            return {**condition_json(inner), "not": True}
        case ast.Not(of=inner):
            return {**_group("and", (inner,)), "not": True}
        case ast.Truth(value=value):
            return {"combinator": "and", "rules": [], "allowEmpty": value}
    return _leaf(node)


def operand_json(node: ast.Operand) -> dict[str, Any]:
    """An operand as an expression."""
    match node:
        case ast.Field(name=name):
            return {"field": name}
        case ast.Const(value=value):
            return {"value": value_json(value)}
        case ast.Now():
            return {"now": True}
        case ast.Arith(op=op, args=args):
            return {"op": op, "args": [operand_json(arg) for arg in args]}


def value_json(value: ast.Value) -> bool | int | float | str:
    """A literal; decimals and times are texts."""
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    return format(value, "f") if isinstance(value, decimal.Decimal) else value


def consequent_json(found: ast.Consequent) -> dict[str, Any]:
    """A consequent, nested cascades included."""
    match found:
        case ast.ModelConsequent():
            return {"type": "model", **_model(found)}
        case ast.RejectConsequent(reason=reason):
            return {"type": "reject", **({"reason": reason} if reason else {})}
        case ast.DecisionConsequent(decision=decision):
            return {"type": "decision", "decision": decision}
        case ast.ShadowConsequent(primary=first, mirrors=rest):
            return {
                "type": "shadow",
                "primary": _model(first),
                "mirrors": [_model(m) for m in rest],
            }
        case ast.ChallengeConsequent(champion=first, challengers=rest):
            others = [_model(m) for m in rest]
            return {"type": "champion_challenger", "champion": _model(first), "challengers": others}
        case ast.SplitConsequent():
            return _split(found)
        case ast.RulesConsequent(rules=rules, default=default):
            return {"type": "rules", **_cascade(rules, default)}


def _cascade(rules: tuple[ast.Rule, ...], default: ast.Consequent) -> dict[str, Any]:
    found = []
    for rule in rules:
        data: dict[str, Any] = {"id": rule.id}
        if rule.description:
            data["description"] = rule.description
        data["antecedent"] = condition_json(rule.condition)
        data["consequent"] = consequent_json(rule.consequent)
        found.append(data)
    return {"conditions": found, "defaultConsequent": consequent_json(default)}


def _group(word: str, parts: tuple[ast.Condition, ...]) -> dict[str, Any]:
    return {"combinator": word, "rules": [condition_json(part) for part in parts]}


def _model(found: ast.ModelConsequent) -> dict[str, Any]:
    version = {} if found.version is None else {"version": found.version}
    return {"model": found.model, **version}


def _split(found: ast.SplitConsequent) -> dict[str, Any]:
    arms = []
    for arm in found.arms:
        name = {} if arm.name == arm.model else {"name": arm.name}
        model = _model(ast.ModelConsequent(arm.model, arm.version))
        arms.append({"weight": arm.weight, **model, **name})
    data: dict[str, Any] = {"type": "split", "weights": arms, "salt": found.salt}
    if found.unit != "split_id":
        data["unit"] = found.unit
    if found.layer:
        data["layer"] = found.layer
    return data


def _subject(node: ast.Operand) -> dict[str, Any]:
    return {"field": node.name} if isinstance(node, ast.Field) else {"lhs": operand_json(node)}


def _object(node: ast.Operand) -> dict[str, Any]:
    match node:
        case ast.Const(value=value):
            return {"value": value_json(value)}
        case ast.Field(name=name):
            return {"valueSource": "field", "value": name}
    return {"valueSource": "expression", "value": operand_json(node)}


def _leaf(node: ast.Leaf) -> dict[str, Any]:
    match node:
        case ast.Compare(left=left, op=op, right=right):
            return {**_subject(left), "operator": op, **_object(right)}
        case ast.Distinct(left=left, right=right, negated=negated):
            word = "notDistinctFrom" if negated else "distinctFrom"
            return {**_subject(left), "operator": word, **_object(right)}
        case ast.In(operand=operand, values=values, negated=negated):
            word, listed = "notIn" if negated else "in", [value_json(value) for value in values]
            return {**_subject(operand), "operator": word, "value": listed}
        case ast.Between(operand=operand, low=low, high=high, negated=negated):
            word, ends = "notBetween" if negated else "between", [value_json(low), value_json(high)]
            return {**_subject(operand), "operator": word, "value": ends}
        case ast.Text(operand=operand, op=test, value=value, negated=negated, ignore_case=fold):
            data = {**_subject(operand), "operator": _NEGATED[test] if negated else test}
            return {**data, "value": value, **({"caseInsensitive": True} if fold else {})}
        case ast.Within(operand=operand, direction=direction, span_us=span_us, negated=negated):
            word = f"in{direction.title()}"
            word = f"notI{word[1:]}" if negated else word
            return {**_subject(operand), "operator": word, "value": print_span(span_us)}
        case ast.Presence(operand=operand, op=state, negated=negated):
            data = {**_subject(operand), "operator": state}
            return {"combinator": "and", "rules": [data], "not": True} if negated else data
        case ast.Known(operand=operand, value=value):
            return {**_subject(operand), "operator": "notIn" if value else "in", "value": []}
        case ast.Truth():
            return condition_json(node)
