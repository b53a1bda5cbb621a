"""Types of JsonLogic variables without a schema, from the literals they meet."""

from __future__ import annotations

from typing import Any

from compiler.rules.importers.javascript import is_number
from compiler.rules.importers.jsonlogic_terms import ARITHMETIC
from compiler.rules.names import FEATURE_NAME
from compiler.schema import Feature

_COMPARE = frozenset({"==", "===", "!=", "!==", "<", "<=", ">", ">=", "in", "??"})


def inferred(rule: Any) -> dict[str, tuple[Feature, str]]:
    """Feature and its wording per variable that meets literals of one kind only."""
    kinds: dict[str, set[str]] = {}
    stack: list[Any] = [rule]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        if not isinstance(node, dict) or len(node) != 1:
            continue
        ((name, args),) = node.items()
        args = args if isinstance(args, list) else [args]
        stack.extend(args)
        if name == "var" and len(args) == 2 and isinstance(args[0], str):
            kinds.setdefault(args[0], set()).update(_kinds(args[1]))
        met = {kind for arg in args for kind in _kinds(arg)} if name in _COMPARE else set()
        if name in ARITHMETIC:
            met = {"float"}
        for arg in args:
            variable = _variable(arg)
            if variable is not None:
                kinds.setdefault(variable, set()).update(met)
    found: dict[str, tuple[Feature, str]] = {}
    for variable, words in kinds.items():
        if len(words) == 1 and FEATURE_NAME.match(variable):
            (word,) = words
            found[variable] = Feature(type=word, nullable=True), f"a nullable {word}"  # type: ignore[arg-type]
    return found


def _variable(node: Any) -> str | None:
    if isinstance(node, dict) and len(node) == 1:
        name = node.get("var", node.get("val"))
        name = name[0] if isinstance(name, list) and name else name
        return name if isinstance(name, str) else None
    return None


def _kinds(node: Any) -> set[str]:
    if isinstance(node, list):
        return {kind for item in node for kind in _kinds(item)}
    if isinstance(node, bool):
        return {"bool"}
    if is_number(node):
        return {"float"}
    return {"string"} if isinstance(node, str) else set()
