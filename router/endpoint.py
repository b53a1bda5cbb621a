"""A release as it runs: decoders, routing and decision functions, bound models, encoded answers.

Everything that depends on the release is here and made before the first request. An endpoint never
changes; a new release is a new endpoint, and a request keeps the one it started with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from compiler.errors import Problem
from compiler.rules.compiled import CompiledRules
from compiler.schema_decode import Decoded, decode_features_slow
from router.arms import Arm, Split
from router.errors import BodyError, FeaturesError
from router.outputs import Out
from router.release.spec import Policies, ReleaseContent
from router.wire.native import Row
from router.wire.v2_known import Known
from router.wire.v2_shapes import V2Plan

RouteFunction = Callable[[Any, Any, int], int]
DecisionFunction = Callable[[Any, Any, int, Out], int]
Unknowns = Callable[..., tuple[str, ...]]
DECODING = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Decoders(Struct, frozen=True):
    """How the bytes of one object become an object with one attribute per feature.

    Attributes:
        names: features in order.
        struct: typed struct.
        fast: typed decoder; accepts exactly what needs no thought.
        defaults: (name, default) of features that have one.
        applied: function from received bytes to the features whose default was taken.
    """

    names: tuple[str, ...]
    struct: Any
    fast: Callable[[Any], Any]
    defaults: tuple[tuple[str, Any], ...] = ()
    applied: Callable[[bytes], tuple[str, ...]] | None = None

    def defaults_of(self, values: Any, raw: bytes) -> tuple[str, ...]:
        """Names of features whose default was applied to a decoded object."""
        for name, default in self.defaults:
            if getattr(values, name) == default:  # perhaps by default: only now look closely
                return self.applied(raw) if self.applied is not None else ()
        return ()


class Decided(Struct, frozen=True):
    """One outcome of the decision table, with the end of the answer already written."""

    decision: str | None
    rule: str | None
    tail: bytes
    adverse: bool


class Endpoint(Struct, frozen=True, eq=False):
    """One release, ready to answer.

    Attributes:
        content: the verified document.
        digest: digest of the document.
        activation: activation that made it current.
        suspended: only the safe answer is given.
        plain: decoders of ``features``.
        context: decoders of ``context``; without features when none are declared.
        route: index into ``arms``, or -1-i when rule i was UNKNOWN and the table says error.
        route_unknowns: ids of UNKNOWN rules before the deciding one; None when there can be none.
        arms: what each routing outcome does.
        rule_ids: ids of the routing rules, aligned with ``arms``.
        decide: index into ``decided``, None without a decision table.
        decision_unknowns: like ``route_unknowns``.
        decided: outcomes of the decision table; the last entry serves when there is no table.
        rejected: end of the answer of a reject, by its reason.
        encode_outputs: JSON of the outputs.
        models: loaded models by name.
        v2: its tensors in the Open Inference Protocol.
        known: one-row requests of that protocol which came before.
        routing: the routing table, for many rows at once.
        deciding: the decision table, likewise.
        inline: every model is cheap enough to score on the event loop.
        readers: rules that test each feature, by its name.
    """

    content: ReleaseContent
    digest: str
    activation: int
    suspended: bool
    plain: Decoders
    context: Decoders
    route: RouteFunction
    route_unknowns: Unknowns | None
    arms: tuple[Arm | Split, ...]
    rule_ids: tuple[str, ...]
    decide: DecisionFunction | None
    decision_unknowns: Unknowns | None
    decided: tuple[Decided, ...]
    rejected: Callable[[str], bytes]
    encode_outputs: Callable[[Out], bytes]
    models: Mapping[str, Any]
    v2: V2Plan
    known: Known
    routing: CompiledRules
    deciding: CompiledRules | None = None
    inline: bool = True
    readers: Mapping[str, tuple[str, ...]] = {}

    @property
    def name(self) -> str:
        """Name in the URL."""
        return self.content.endpoint

    @property
    def number(self) -> int:
        """Release number."""
        return self.content.number

    @property
    def policies(self) -> Policies:
        """How requests, records and failures are treated."""
        return self.content.policies

    def decode_slow(self, row: Row, at: str = "") -> tuple[Any, Any, dict[str, int]]:
        """Features, context and counts of what was tolerated, by the decoder that words problems.

        Args:
            row: the request.
            at: place of the row, such as ``rows[3].``.

        Raises:
            FeaturesError: features do not fit; every problem is listed.
            BodyError: not an object.
        """
        raw_context = b"{}" if row.context is UNSET else bytes(row.context)
        found = self._slow(bytes(row.features), context=False)
        beside = self._slow(raw_context, context=True)
        problems = [*found.problems, *beside.problems]
        if problems:
            raise problems_error([_placed(each, at) for each in problems])
        counts = dict(found.counters)
        for name, count in beside.counters.items():
            counts["context." + name] = count
        return self.plain.struct(**found.values), self.context.struct(**beside.values), counts

    def _slow(self, raw: bytes, *, context: bool) -> Decoded:
        return decode_features_slow(
            raw,
            self.content.features,
            extra=self.policies.extra,
            lenient=self.policies.input == "lenient",
            context=context,
        )


def _placed(problem: Problem, at: str) -> Problem:
    """A problem of one row among several, as ``rows[3].income``."""
    if not at:
        return problem
    return msgspec.structs.replace(problem, at=at + problem.at.removeprefix("features."))


def problems_error(problems: list[Problem]) -> FeaturesError | BodyError:
    """The error for problems of a decoder: a shape that is wrong goes before features that are."""
    for problem in problems:
        if problem.code.startswith("body."):
            return BodyError(problem.message, code=problem.code, at=problem.at, hint=problem.hint)
    return FeaturesError(problems)
