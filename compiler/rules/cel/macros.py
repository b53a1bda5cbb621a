"""``all exists exists_one map filter`` over constant lists: written out, item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.rules.cel.results import (
    CelError,
    Constant,
    Failed,
    Result,
    as_test,
    both,
    either,
)
from compiler.rules.cel.tree import Call, Ident
from compiler.rules.cel.values import Map

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.rules.cel.tree import Node

    Evaluate = Callable[[Node, dict[str, Any]], Result]

MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})


def expand(node: Call, names: dict[str, Any], evaluate: Evaluate) -> Result:
    """Value of a macro, its variable bound to each item in turn.

    Raises:
        CelError: over a value of the row, or one that cannot be written out.
    """
    assert node.target is not None
    whole = evaluate(node.target, names)
    if isinstance(whole, Failed):
        return whole
    items = whole.value if isinstance(whole, Constant) else None
    if isinstance(items, Map):
        items = tuple(key for key, _ in items.pairs)
    if not isinstance(items, tuple):
        if isinstance(whole, Constant):
            return Failed(f"{node.name} needs a list", node.at)
        raise CelError(
            f"expected a constant list before {node.name}, got another value", at=node.at
        )
    if len(node.args) not in ((2, 3) if node.name == "map" else (2,)):
        raise CelError(f"expected a variable and an expression in {node.name}", at=node.at)
    variable, *body = node.args
    if not isinstance(variable, Ident):
        raise CelError(f"expected a variable first in {node.name}, got a value", at=node.at)
    rounds = [[evaluate(part, {**names, variable.name: item}) for part in body] for item in items]
    if node.name in ("all", "exists"):
        tests = [as_test(found, node.at) for (found,) in rounds]
        return both(tests, node.at) if node.name == "all" else either(tests, node.at)
    return _collected(node, items, rounds)


def _collected(node: Call, items: tuple[Any, ...], rounds: list[list[Result]]) -> Result:
    kept: list[Any] = []
    for item, found in zip(items, rounds, strict=True):
        keep: Result = Constant(True)
        if node.name != "map" or len(found) == 2:
            keep = as_test(found[0], node.at)
        value = found[-1] if node.name == "map" else Constant(item)
        for part in (keep, value):
            if isinstance(part, Failed):
                return part
            if not isinstance(part, Constant):
                raise CelError(
                    f"expected only constants in {node.name}, got a value of the row", at=node.at
                )
        assert isinstance(keep, Constant)
        assert isinstance(value, Constant)
        if keep.value:
            kept.append(value.value)
    return Constant(len(kept) == 1 if node.name == "exists_one" else tuple(kept))
