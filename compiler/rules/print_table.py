"""Canonical text of whole tables: one rule a line, nested cascades indented.

``parse_text`` reads it back to an equal table. The text form has no words for features and outputs:
they stay in a schema beside it.
"""

from __future__ import annotations

from compiler.rules import ast
from compiler.rules.print_text import print_condition, print_name, print_value

_STEP = "  "


def print_table(table: ast.Table) -> str:
    """A table, its head (id, revision, description, onUnknown) included."""
    lines = _head(table)
    lines += _cascade(table.rules, table.default, "")
    return "\n".join(lines) + "\n"


def print_consequent(found: ast.LeafConsequent) -> str:
    """What a rule answers, as behind THEN."""
    match found:
        case ast.ModelConsequent():
            return _model(found)
        case ast.RejectConsequent(reason=reason):
            return f"REJECT {print_value(reason)}" if reason else "REJECT"
        case ast.DecisionConsequent(decision=decision):
            return print_name(decision)
        case ast.SplitConsequent():
            return _split(found)
        case ast.ShadowConsequent(primary=first, mirrors=rest):
            return f"SHADOW {_model(first)} WITH {', '.join(map(_model, rest))}"
        case ast.ChallengeConsequent(champion=first, challengers=rest):
            return f"CHALLENGE {_model(first)} WITH {', '.join(map(_model, rest))}"


def _head(table: ast.Table) -> list[str]:
    lines = []
    parts = ["TABLE"]
    if table.id:
        parts.append(print_value(table.id))
    if table.revision is not None:
        parts.append(f"REVISION {table.revision}")
    if table.description:
        parts.append(f"DESCRIPTION {print_value(table.description)}")
    if len(parts) > 1:
        lines.append(" ".join(parts))
    if isinstance(table.on_unknown, str):
        if table.on_unknown != "fallthrough":
            lines.append(f"ON UNKNOWN {table.on_unknown.upper()}")
    else:
        route = print_consequent(table.on_unknown)
        first, space, rest = route.partition(" ")
        if first.upper() in ("ERROR", "FALLTHROUGH"):  # a model of that name
            route = f'"{first}"{space}{rest}'
        lines.append(f"ON UNKNOWN {route}")
    return lines


def _cascade(rules: tuple[ast.Rule, ...], default: ast.Consequent, pad: str) -> list[str]:
    lines: list[str] = []
    word = "IF"
    for index, rule in enumerate(rules):
        tail = "" if rule.id == f"rule{index + 1}" else f" AS {print_name(rule.id)}"
        if rule.description:
            tail += f" DESCRIPTION {print_value(rule.description)}"
        start = f"{pad}{word} {print_condition(rule.condition)} THEN "
        if isinstance(rule.consequent, ast.RulesConsequent):
            inner = rule.consequent
            lines.append(start + "(")
            lines += _cascade(inner.rules, inner.default, pad + _STEP)
            lines.append(f"{pad}){tail}")
        else:
            lines.append(start + print_consequent(rule.consequent) + tail)
        word = "ELSE IF"
    if isinstance(default, ast.RulesConsequent):
        raise TypeError(default.at)  # refused by the parsers: a default is a leaf
    lines.append(f"{pad}ELSE {print_consequent(default)}")
    return lines


def _model(found: ast.ModelConsequent) -> str:
    name = print_name(found.model)
    return name if found.version is None else f"{name} @ {found.version}"


def _split(found: ast.SplitConsequent) -> str:
    arms = []
    for arm in found.arms:
        name = "" if arm.name == arm.model else f" AS {print_name(arm.name)}"
        arms.append(f"{arm.weight}: {_model(ast.ModelConsequent(arm.model, arm.version))}{name}")
    unit = "" if found.unit == "split_id" else f" BY {print_name(found.unit)}"
    layer = f" LAYER {print_value(found.layer)}" if found.layer else ""
    return f"SPLIT ({', '.join(arms)}){unit} SALT {print_value(found.salt)}{layer}"
