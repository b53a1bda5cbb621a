"""What each routing outcome does, with everything that can be known before a request arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from compiler.errors import Problem
from router.errors import FeaturesError

if TYPE_CHECKING:
    from router.heavy import Heavy
    from router.wire.native import Row
    from serving.explain.inline import Explain

Scorer = Callable[[Any], tuple[Any, ...]]

_json = msgspec.json.encode


class Arm:
    """One leaf of the routing table, bound to its model.

    Attributes:
        rule: id of the rule that leads here.
        model: model name, None for a reject.
        version: model version, None for a reject.
        package: package digest, None for a reject.
        score: scorer of one decoded row, None for a reject.
        explain: explains a decoded row within the policy's cost, None where that costs more.
        heavy: how the same model is scored off the event loop, None when it is cheap.
        reason: why a reject rejects, None for a model.
        name: arm of a split, empty otherwise.
        head: JSON between the id and the outputs.
        slots: counter slot per decision index (-1 is "no decision table").
    """

    __slots__ = (
        "explain",
        "head",
        "heavy",
        "infer_slot",
        "model",
        "name",
        "package",
        "reason",
        "rule",
        "score",
        "slots",
        "version",
    )

    def __init__(
        self,
        rule: str,
        *,
        model: str | None = None,
        version: int | None = None,
        package: str | None = None,
        score: Scorer | None = None,
        heavy: Heavy | None = None,
        explain: Explain | None = None,
        reason: str | None = None,
        name: str = "",
    ) -> None:
        self.rule = rule
        self.model = model
        self.version = version
        self.package = package
        self.score = score
        self.heavy = heavy
        self.explain = explain
        self.reason = reason
        self.name = name
        self.head = b""
        self.slots: list[int] = []
        self.infer_slot = 0

    def bind_head(self, endpoint: str, release: int) -> None:
        """Write the part of the answer that is the same for every request."""
        arm = b',"arm":' + _json(self.name) if self.name else b""
        self.head = b'"endpoint":%b,"release":%d,"rule":%b,"model":%b,"version":%b%b,"outputs":' % (
            _json(endpoint),
            release,
            _json(self.rule),
            _json(self.model),
            _json(self.version),
            arm,
        )


class Split:
    """A rule that shares its requests among arms by their unit."""

    __slots__ = ("arms", "choose", "rule", "unit")

    def __init__(
        self, rule: str, arms: tuple[Arm, ...], choose: Callable[[str], int], unit: str
    ) -> None:
        self.rule = rule
        self.arms = arms
        self.choose = choose
        self.unit = unit


def choose_arm(split: Split, f: Any, row: Row) -> Arm:
    """The arm that a split gives this unit; the first, unhashed, when the request names none."""
    if split.unit == "split_id":
        unit = row.split_id if row.split_id is not None else row.subject
    else:
        value = getattr(f, split.unit)
        unit = None if value is None else str(value)
    return split.arms[split.choose(unit)] if unit else split.arms[0]


def unknown_rule(rule: str) -> FeaturesError:
    """The error for a table that stops at an UNKNOWN rule."""
    return FeaturesError(
        [
            Problem(
                "rule.unknown",
                f"expected values that rule {rule!r} can be decided with, got missing ones",
                rule,
                "send the features that this rule reads",
            )
        ]
    )
