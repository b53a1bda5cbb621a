"""Names of a CEL text: features, ``context.x``, ``features.x``, outputs, ``now`` and type words."""

from __future__ import annotations

from compiler.rules import ast
from compiler.rules.cel.functions import TYPE_WORDS
from compiler.rules.cel.results import CelError, Constant, Input, Result
from compiler.rules.cel.tree import Ident, Index, Literal, Node, Select
from compiler.rules.cel.values import TypeWord
from compiler.rules.names import canonical_name, suggestion
from compiler.schema import FeatureMap

KINDS = {
    "int": "int",
    "float": "double",
    "float32": "float32",
    "decimal": "decimal",
    "bool": "bool",
    "string": "string",
    "enum": "string",
    "date": "date",
    "timestamp": "timestamp",
}
_ROOTS = ("context", "features", "output", "probability")


def path_of(node: Node) -> str | None:
    """``a.b.c`` of names and selections; an index by a text counts under the known roots."""
    parts: list[str] = []
    while not isinstance(node, Ident):
        if isinstance(node, Select):
            parts.append(node.name)
            node = node.of
        elif isinstance(node, Index) and isinstance(node.key, Literal):
            base = path_of(node.of)
            if base is None or base.partition(".")[0] not in _ROOTS:
                return None
            if not isinstance(node.key.value, str):
                return None
            parts.append(node.key.value)
            node = node.of
        else:
            return None
    parts.append(node.name)
    return ".".join(reversed(parts))


def feature_name(path: str, features: FeatureMap) -> str | None:
    """The feature that a path names, or None."""
    name = canonical_name(path, features)
    if name in features:
        return name
    short = path.removeprefix("features.")
    return short if short != path and short in features else None


def read(path: str, features: FeatureMap, at: str) -> Result:
    """Result of a name.

    Raises:
        CelError: nothing has that name.
    """
    name = feature_name(path, features)
    if name is not None:
        feature = features[name]
        bounds = None
        if isinstance(feature.min, int) and isinstance(feature.max, int):
            bounds = (feature.min, feature.max)
        return Input(ast.Field(name, at), KINDS[feature.type], bounds, feature)
    if path == "now":
        return Input(ast.Now(at), "timestamp")
    if path in TYPE_WORDS:
        return Constant(TypeWord(path))
    raise CelError(
        f"expected a declared feature, got {path!r}",
        code="rule.unknown_feature",
        at=at,
        hint=suggestion(path, features) or "declare it under `features`, or give a schema",
    )
