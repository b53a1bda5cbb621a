"""Consequents of the JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compiler.errors import Problem
from compiler.rules import ast
from compiler.rules.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable


class _Model(Struct, tag="model", forbid_unknown_fields=True):
    model: str
    version: int | None = None


class _Mirror(Struct, forbid_unknown_fields=True):
    model: str
    version: int | None = None


class _Arm(Struct, forbid_unknown_fields=True):
    weight: int
    model: str
    name: str = ""
    version: int | None = None


class _Split(Struct, tag="split", forbid_unknown_fields=True):
    weights: list[_Arm]
    salt: str
    unit: str = "split_id"
    layer: str = ""


class _Reject(Struct, tag="reject", forbid_unknown_fields=True):
    reason: str = ""


class _Decision(Struct, tag="decision", forbid_unknown_fields=True):
    decision: str


class _Shadow(Struct, tag="shadow", forbid_unknown_fields=True):
    primary: _Mirror
    mirrors: list[_Mirror]


class _Challenge(Struct, tag="champion_challenger", forbid_unknown_fields=True):
    champion: _Mirror
    challengers: list[_Mirror]


_Shape = _Model | _Split | _Reject | _Decision | _Shadow | _Challenge
TYPES = ("model", "split", "reject", "decision", "shadow", "champion_challenger", "rules")
MAX_VERSION = 2**31 - 1
MAX_WEIGHT_SUM = 2**31 - 1


def parse_consequent(
    data: Any, at: str, kind: str, report: Callable[[Problem], None]
) -> ast.LeafConsequent | None:
    """A consequent that is not a nested cascade; None after reporting a problem."""
    word = data.get("type") if isinstance(data, dict) else None
    if word not in TYPES:
        report(
            Problem(
                "rule.consequent",
                f"expected a consequent of type {', '.join(TYPES)}, got {word!r}",
                at,
                suggestion(str(word), TYPES),
            )
        )
        return None
    try:
        shape: _Shape = msgspec.convert(data, _Shape)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        report(Problem("rule.consequent", message[0].lower() + message[1:], at + path.rstrip("`")))
        return None
    found = _build(shape, at)
    problem = consequent_problem(found, kind)
    if problem:
        report(Problem("rule.consequent", problem, at))
        return None
    return found


def consequent_problem(found: ast.LeafConsequent, kind: str) -> str:
    """Why a consequent does not stand, or an empty string."""
    decides = isinstance(found, ast.DecisionConsequent)
    if kind == "decision" and not decides:
        return "expected a consequent of type decision in a decision table, got another"
    if kind == "routing" and decides:
        return "expected a model, split or reject in a routing table, got a decision"
    for name in consequent_names(found):
        if not name or len(name) > 200:
            return "expected a name of 1 to 200 characters, got " + repr(name[:20])
    for version in _versions(found):
        if version is not None and not 1 <= version <= MAX_VERSION:
            return f"expected a version of 1 to {MAX_VERSION}, got {version}"
    if isinstance(found, ast.ShadowConsequent) and not found.mirrors:
        return "expected at least one mirror, got none"
    if isinstance(found, ast.ChallengeConsequent) and not found.challengers:
        return "expected at least one challenger, got none"
    if isinstance(found, ast.SplitConsequent):
        total = sum(arm.weight for arm in found.arms)
        if any(arm.weight < 0 for arm in found.arms):
            return "expected weights of at least 0, got a negative one"
        if not 0 < total <= MAX_WEIGHT_SUM:
            return f"expected weights with a sum of 1 to {MAX_WEIGHT_SUM}, got {total}"
        if not found.salt:
            return "expected a salt, got an empty text"
        if "/" in found.salt + found.layer:
            return "expected a salt and a layer without /, got one (keys could collide)"
        names = [arm.name for arm in found.arms]
        if len(set(names)) < len(names):
            return "expected arms of different names, got one twice"
    return ""


def _versions(found: ast.LeafConsequent) -> tuple[int | None, ...]:
    match found:
        case ast.ModelConsequent(version=version):
            return (version,)
        case ast.SplitConsequent(arms=arms):
            return tuple(arm.version for arm in arms)
        case ast.ShadowConsequent(primary=first, mirrors=rest):
            return (first.version, *(one.version for one in rest))
        case ast.ChallengeConsequent(champion=first, challengers=rest):
            return (first.version, *(one.version for one in rest))
    return ()


def consequent_names(found: ast.LeafConsequent) -> tuple[str, ...]:
    """Models, or the decision word, that a consequent names."""
    match found:
        case ast.ModelConsequent(model=model):
            return (model,)
        case ast.SplitConsequent(arms=arms):
            return tuple(arm.model for arm in arms)
        case ast.DecisionConsequent(decision=decision):
            return (decision,)
        case ast.ShadowConsequent(primary=first, mirrors=rest):
            return (first.model, *(one.model for one in rest))
        case ast.ChallengeConsequent(champion=first, challengers=rest):
            return (first.model, *(one.model for one in rest))
        case ast.RejectConsequent():
            return ()


def _build(shape: _Shape, at: str) -> ast.LeafConsequent:
    match shape:
        case _Model(model=model, version=version):
            return ast.ModelConsequent(model, version, at)
        case _Reject(reason=reason):
            return ast.RejectConsequent(reason, at)
        case _Decision(decision=decision):
            return ast.DecisionConsequent(decision, at)
        case _Split(weights=weights, salt=salt, unit=unit, layer=layer):
            arms = tuple(
                ast.Arm(arm.name or arm.model, arm.weight, arm.model, arm.version)
                for arm in weights
            )
            return ast.SplitConsequent(arms, salt, unit, layer, at)
        case _Shadow(primary=primary, mirrors=mirrors):
            return ast.ShadowConsequent(_one(primary, at), tuple(_one(m, at) for m in mirrors), at)
        case _Challenge(champion=champion, challengers=others):
            return ast.ChallengeConsequent(
                _one(champion, at), tuple(_one(m, at) for m in others), at
            )


def _one(shape: _Mirror, at: str) -> ast.ModelConsequent:
    return ast.ModelConsequent(shape.model, shape.version, at)
